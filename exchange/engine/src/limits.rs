//! Every bound of the engine, by name. They are rules of the product: changing one changes what a replayed
//! log means, so a change needs a new snapshot version and a switch at a recorded sequence.

/// One billion dollars.
pub const PRICE_MAX_CENTS: i64 = 100_000_000_000;
/// All bitcoin there will ever be.
pub const QUANTITY_MAX: i64 = 2_100_000_000_000_000;
/// The outside world never owes more than this of one asset, which also bounds every customer's balance
/// far below what `i128` and `numeric(38,0)` hold.
pub const ISSUED_MAX: i128 = 1_000_000_000_000_000_000_000_000_000_000_000_000;
/// A market order trades no further than this from the best opposite price: 5 %.
pub const COLLAR_BASIS_POINTS: i64 = 500;
/// Orders that one account may have resting.
pub const OPEN_ORDERS_PER_ACCOUNT_MAX: u32 = 20_000;
/// Orders that may rest in all books together.
pub const OPEN_ORDERS_MAX: usize = 1_000_000;
/// Accounts that one cell knows.
pub const ACCOUNTS_MAX: usize = 1_000_000;

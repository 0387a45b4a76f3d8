//! Bugs that are built in to see whether they are found.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    Nothing,
    /// Hands begin before the journal has the order.
    ActsBeforeItIsWritten,
    /// What may have been begun before is done on a guess.
    RepeatsBlindly,
    /// Nobody writes down what he is about to do.
    WritesNothingDown,
    /// A successor leaves what its predecessor had out to its fate, and says that it is done.
    TrustsItsPredecessor,
    /// A fault is set and nobody is there to end it, but whoever set it.
    FaultWithoutGuardian,
    /// A notice whose sayer died is taken for said.
    SaidIsSaid,
    /// Every notice is said for good measure by whoever hears of it.
    SaysItAgain,
}

impl Planted {
    pub const ALL: [Self; 7] = [
        Self::ActsBeforeItIsWritten,
        Self::RepeatsBlindly,
        Self::WritesNothingDown,
        Self::TrustsItsPredecessor,
        Self::FaultWithoutGuardian,
        Self::SaidIsSaid,
        Self::SaysItAgain,
    ];
}

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
    /// Whoever looks instead of another trusts that all was well, and does not look.
    SeenWithoutLooking,
    /// A fault that may have been set is set, whatever stands on the disk.
    SetsAgain,
    /// A fault is said to be over, and its guardian will see to that.
    EndsInWords,
    /// Whoever chooses sets the fault as well: it comes to the same.
    SetsWhatItChooses,
}

impl Planted {
    pub const ALL: [Self; 11] = [
        Self::ActsBeforeItIsWritten,
        Self::RepeatsBlindly,
        Self::WritesNothingDown,
        Self::TrustsItsPredecessor,
        Self::FaultWithoutGuardian,
        Self::SaidIsSaid,
        Self::SaysItAgain,
        Self::SeenWithoutLooking,
        Self::SetsAgain,
        Self::EndsInWords,
        Self::SetsWhatItChooses,
    ];
}

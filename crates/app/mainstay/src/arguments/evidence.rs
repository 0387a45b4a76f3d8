//! `mainstay evidence …`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Platform;

const PACK_HELP: &str = "\
The pack carries the whole journal up to now as C2SP tlog-tiles, under its signed checkpoint; fifteen items, part by part
shown, missing or stale, with the entries that each rests on and their inclusion proofs; and a signed list of all its
files. It says nothing about whether anybody complies with anything. docs/evidence.md has the rest.

Times are the platform's own, unless a witness outside has signed a checkpoint of the journal since (the file `checkpoint` of
`mainstay journal export`, c2sp.org/tlog-cosignature): give what it returned with --cosigned, and its key with --witness.

  mainstay evidence pack --drill d1 --out d1.tar
  mainstay evidence pack --incident i3 --out i3-evidence --attach i3.html";

const VERIFY_HELP: &str = "\
Needs nothing but the pack and the verifier key, which must come another way than the pack: `mainstay journal export` and
`mainstay evidence pack` print it. What is told of each item is made again from the entries and compared.

  mainstay evidence verify d1.tar --key 'mainstay/exchange/0123456789abcdef+89abcdef+AZ…'
  mainstay evidence verify d1.tar --key keys

A pack names the rules by which its items were made. Of one that was made by earlier rules than those of this version is said
what of it could not be made again; the log, its proofs, every signature and every digest are verified all the same.

Exit codes: 0 it is what was signed, and follows from the log; 1 it is refused; 2 the path or a key cannot be used, or a newer
version made the pack; 6 it is what was signed, and what is named could not be made again.";

#[derive(Debug, Subcommand)]
pub enum Evidence {
    /// Put what the journal shows of one drill, experiment or incident into a folder or an archive, signed
    #[command(after_help = PACK_HELP)]
    Pack(Pack),
    /// Whether a pack is what was signed, and follows from its log; without a platform
    #[command(after_help = VERIFY_HELP)]
    Verify(Verify),
}

#[derive(Debug, Args)]
pub struct Pack {
    #[command(flatten)]
    pub what: What,
    /// A new folder, or a file that ends in .tar
    #[arg(long, value_name = "PATH")]
    pub out: PathBuf,
    /// Another table of controls than the one that is shipped
    #[arg(long, value_name = "FILE")]
    pub controls: Option<PathBuf>,
    /// A file that is put in and signed with the rest; several times for several
    #[arg(long, value_name = "FILE")]
    pub attach: Vec<PathBuf>,
    /// A checkpoint of the journal that a witness signed, with the time; several times for several
    #[arg(long, value_name = "FILE", requires = "witnesses")]
    pub cosigned: Vec<PathBuf>,
    /// The verifier key of a witness, or a file of them; several times for several
    #[arg(long = "witness", value_name = "KEY|FILE")]
    pub witnesses: Vec<String>,
    #[command(flatten)]
    pub platform: Platform,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct What {
    /// A run of a drill, such as d1
    #[arg(long, value_name = "RUN")]
    pub drill: Option<String>,
    /// A run of an experiment, such as x1
    #[arg(long, value_name = "RUN")]
    pub experiment: Option<String>,
    /// An incident, such as i1
    #[arg(long, value_name = "ID")]
    pub incident: Option<String>,
}

#[derive(Debug, Args)]
pub struct Verify {
    /// The folder or the archive
    pub path: PathBuf,
    /// A verifier key, or a file of them; several times for several
    #[arg(long = "key", value_name = "KEY|FILE", required = true)]
    pub keys: Vec<String>,
    /// The verifier key of a witness that you trust, or a file of them; then no other is believed
    #[arg(long = "witness", value_name = "KEY|FILE")]
    pub witnesses: Vec<String>,
    /// Print the outcome as JSON
    #[arg(long)]
    pub json: bool,
}

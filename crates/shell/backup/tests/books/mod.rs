//! The books of a proof: the exchange's tables in small, right and then wrong in every way that is looked for.

use anyhow::{Context, Result, ensure};
use mainstay_backup::{Archive, ProveError, Sources, prove, write_mark};
use mainstay_record::backup::ProofRecord;
use mainstay_testkit::postgres::TemporaryServer;

use super::Place;

/// Three commands; the second one moved seven of an asset from one account to another.
const RIGHT: &str = "CREATE SCHEMA exchange; \
    CREATE TABLE exchange.commands (sequence bigint PRIMARY KEY, hash bytea NOT NULL); \
    CREATE TABLE exchange.postings (sequence bigint, account bigint, bucket text, asset text, amount numeric); \
    CREATE TABLE exchange.balances (account bigint, bucket text, asset text, amount numeric); \
    INSERT INTO exchange.commands SELECT n, sha256(n::text::bytea) FROM generate_series(1, 3) n; \
    INSERT INTO exchange.postings VALUES (2, 1, 'free', 'EUR', -7), (2, 2, 'free', 'EUR', 7); \
    INSERT INTO exchange.balances VALUES (1, 'free', 'EUR', -7), (2, 'free', 'EUR', 7)";

/// A hole, money from nowhere that the balances do not know, and a command that is another one as soon as a mark has noted it.
const WRONG: &str = "DELETE FROM exchange.commands WHERE sequence = 2; \
    INSERT INTO exchange.postings VALUES (3, 2, 'free', 'EUR', 5); \
    CREATE FUNCTION exchange.forge() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
        UPDATE exchange.commands SET hash = sha256(hash) WHERE sequence = 3; RETURN NULL; END $$; \
    CREATE TRIGGER forge AFTER INSERT ON mainstay.marks EXECUTE FUNCTION exchange.forge()";

const SENTENCES: [&str; 3] = [
    "the command log has no hole",
    "postings are balanced, command by command",
    "each balance is the sum of its postings",
];

pub fn begin(server: &TemporaryServer) -> Result<()> {
    server.psql("postgres", RIGHT).map(drop)
}

/// Every sentence holds, and the last command is the one that was noted with a mark.
pub fn are_right(proof: &ProofRecord) -> Result<()> {
    let noted = "command 3 has the hash that was noted";
    for sentence in SENTENCES.iter().chain(&[noted]) {
        ensure!(
            proof.shown.iter().any(|shown| shown == sentence),
            "{proof:?}"
        );
    }
    Ok(())
}

/// A proof of what is wrong fails, and names each thing; nothing is noted as proven.
pub fn are_wrong(place: &Place, archive: &Archive, server: &TemporaryServer) -> Result<()> {
    server.psql("postgres", WRONG)?;
    // One notes what is there; the next, that it is another one by now.
    place.block_on(async {
        let sources = Sources::look(&archive.config).await;
        let primary = sources.primary()?;
        write_mark(archive, primary).await?;
        Ok(write_mark(archive, primary).await?)
    })?;
    let written = server.psql("postgres", "SELECT pg_current_wal_lsn()")?;
    place.wait_until_shipped(&written)?;
    let proofs = |place: &Place| -> Result<usize> {
        let catalogue = place.catalogue(archive)?;
        Ok(catalogue
            .entries
            .iter()
            .map(|entry| entry.proofs.len())
            .sum())
    };
    let before = proofs(place)?;
    let refused = place.block_on(async {
        let catalogue = archive.catalogue().await?;
        Ok(prove(archive, &catalogue, None).await.err())
    })?;
    let Some(ProveError::Broken { broken }) = refused else {
        anyhow::bail!("what is wrong was proven, or not looked at: {refused:?}");
    };
    for sentence in SENTENCES {
        let said = format!("it does not hold that {sentence} (1 wrong)");
        ensure!(broken.contains(&said), "{said:?} is not in {broken:?}");
    }
    let forged = broken
        .iter()
        .find(|said| said.starts_with("command 3 has hash"));
    forged.with_context(|| format!("the forged command is not in {broken:?}"))?;
    ensure!(broken.len() == SENTENCES.len() + 1, "{broken:?}");
    ensure!(proofs(place)? == before, "noted as proven");
    let clear = "DROP TRIGGER forge ON mainstay.marks; DROP SCHEMA exchange CASCADE";
    server.psql("postgres", clear).map(drop)
}

//! One server through its life: it answers, survives a restart, and leaves nothing behind.

use mainstay_testkit::postgres::TemporaryServer;

#[test]
fn a_server_answers_restarts_and_leaves_nothing_behind() {
    let mut server = TemporaryServer::start(204).expect("start");
    server.create_database("one").expect("create a database");
    server
        .psql("one", "CREATE TABLE t(x int); INSERT INTO t VALUES (41)")
        .expect("write");
    server.restart().expect("restart");
    assert_eq!(
        server.psql("one", "SELECT x + 1 FROM t").expect("read"),
        "42"
    );
    assert!(server.psql("one", "SELECT nothing").is_err());
    let (folder, pid) = (
        server.socket_directory().to_owned(),
        server.postmaster().id(),
    );
    drop(server);
    assert!(!folder.exists());
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

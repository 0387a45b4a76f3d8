//! The journal on a real file system and on a real etcd: coordination, damage, export.
//!
//! What must hold on both is a *case* of [`CASES`], and every case is played on a folder, on etcd with one member, and
//! on etcd with three.
#![allow(clippy::unwrap_used, reason = "a test stops where an unwrap fails")]

mod common;
mod coordination;
mod damage;
mod etcd;
mod export;
mod folder;

use common::Platform;
use mainstay_testkit::etcd::{Cluster, or_skip};

type Case = (&'static str, fn(&Platform<'_>));

macro_rules! cases {
    ($($module:ident::$case:ident),* $(,)?) => {
        &[$((stringify!($case), $module::$case)),*]
    };
}

const CASES: &[Case] = cases![
    coordination::a_thawed_leader_finds_its_position_taken,
    coordination::of_two_openers_one_wins,
    coordination::a_rolled_back_journal_is_noticed_by_who_saw_more,
    coordination::what_was_followed_before_an_error_is_handed_out_all_the_same,
    coordination::a_journal_written_anew_is_noticed,
    coordination::a_port_out_of_reach_is_neither_read_nor_written,
    coordination::beats_are_heard_and_wake_a_waiter,
    coordination::beats_as_large_as_they_may_be_are_heard,
    coordination::parts_of_several_megabytes_are_appended,
    coordination::writers_racing_for_positions_leave_one_log,
    coordination::writers_on_threads_leave_one_log,
    coordination::a_writer_killed_at_any_moment_leaves_a_journal_that_verifies_and_goes_on,
    coordination::a_reader_begins_anywhere,
    damage::a_thousand_changes_are_found,
    damage::without_memories_roll_backs_are_reported_as_not_tried,
    damage::findings_say_where_and_what,
    export::an_auditor_of_another_house_accepts_the_log_and_finds_changes,
];

fn play_in_etcd(members: u8) {
    if !or_skip("the journal in etcd") {
        return;
    }
    let cluster = Cluster::start(members).unwrap();
    for (name, case) in CASES {
        eprintln!("{name}");
        case(&Platform::in_etcd(&cluster, name));
    }
}

#[test]
fn every_case_holds_in_a_folder() {
    for (name, case) in CASES {
        eprintln!("{name}");
        case(&Platform::new());
    }
}

#[test]
fn every_case_holds_in_etcd_with_one_member() {
    play_in_etcd(1);
}

#[test]
fn every_case_holds_in_etcd_with_three_members() {
    play_in_etcd(3);
}

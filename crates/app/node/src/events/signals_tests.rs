//! What is asked of the kernel, as it travels.

use super::*;

fn commanded(ask: Ask) -> Signal {
    Signal::Commanded(Command {
        actor: actor(),
        reason: text(),
        ask,
        readings: super::super::gates::readings(),
        overrides: ["g".to_string()].into(),
    })
}

/// One of each.
fn asks() -> Vec<Ask> {
    let mut asks = vec![
        Ask::Apply {
            digest: "f00d".to_string(),
            desired: Box::new(desired()),
        },
        Ask::Pause,
        Ask::Resume,
        Ask::Stop,
        Ask::ClearFault {
            fault: "f1".to_string(),
        },
        Ask::Switchover {
            database: name("ledger"),
            to: name("r2"),
        },
        Ask::Solo {
            database: name("ledger"),
        },
        Ask::Failover {
            database: name("ledger"),
            to: name("h1"),
            accepts_loss: true,
        },
        Ask::Upgrade { program: program() },
    ];
    asks.extend(specs().into_iter().map(Ask::InjectFault));
    asks.extend(incident_asks().into_iter().map(Ask::Incident));
    asks.extend(experiment_asks().into_iter().map(Ask::Experiment));
    asks.extend(
        super::super::drills::tests::asks()
            .into_iter()
            .map(Ask::Drill),
    );
    asks.extend(
        super::super::playbooks::tests::asks()
            .into_iter()
            .map(Ask::Playbook),
    );
    asks.extend(
        super::super::rules::samples()
            .into_iter()
            .filter_map(super::super::rules::asked),
    );
    asks.extend([
        Ask::Notice(mainstay_kernel::NoticeAsk::EndSilence { silence: 4 }),
        Ask::Notice(mainstay_kernel::NoticeAsk::Silence {
            matchers: vec![mainstay_notify::Matcher::parse("a=b").unwrap()],
            lasts_ms: 7,
        }),
    ]);
    asks
}

#[test]
fn every_signal_that_travels_there_and_back() {
    let commands = asks().into_iter().map(commanded);
    let effect = EffectId(Position(8));
    let answers = outcomes()
        .into_iter()
        .map(|outcome| Signal::Answered { effect, outcome });
    let file = Signal::FileRead {
        digest: "f00d".to_string(),
        desired: Box::new(desired()),
        actor: actor(),
    };
    let signals = commands
        .chain(answers)
        .chain(reports().into_iter().map(Signal::Reported))
        .chain(told())
        .chain(
            super::super::rules::samples()
                .into_iter()
                .filter_map(super::super::rules::told),
        )
        .chain([file]);
    for signal in signals {
        let text = serde_json::to_string(&signal_record(&signal).unwrap()).unwrap();
        let back: SignalRecord = serde_json::from_str(&text).unwrap();
        assert_eq!(signal_of(back).unwrap(), signal, "{text}");
    }
    assert!(signal_record(&Signal::Tick).is_none());
}

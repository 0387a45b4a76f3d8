//! What a fault of the network means for the two directions of a wire.

use mainstay_record::process::{FaultKind, FaultParameters, FaultWays, WireEffect, WireLane};

/// For wires on which the target connects, and for those on which it is reached.
pub(super) fn effects(kind: FaultKind, parameters: &FaultParameters) -> (WireEffect, WireEffect) {
    match (kind, parameters.one_way) {
        (FaultKind::Cut, true) => (WireEffect::CutForward, WireEffect::CutBackward),
        (FaultKind::Cut, false) => (WireEffect::Cut, WireEffect::Cut),
        // As versions before lanes of their own understand it too.
        (FaultKind::Delay, false) if parameters.detail.correlation_percent.is_none() => {
            let delay = WireEffect::Delay {
                delay_us: parameters.delay_us,
                jitter_us: parameters.jitter_us,
            };
            (delay, delay)
        }
        (_, one_way) => {
            let there = lane(kind, parameters);
            let back = if one_way { WireLane::default() } else { there };
            let shape = |forward, backward| WireEffect::Shape { forward, backward };
            (shape(there, back), shape(back, there))
        }
    }
}

pub(super) fn at_door(
    kind: FaultKind,
    parameters: &FaultParameters,
    ways: FaultWays,
) -> WireEffect {
    let lane = lane(kind, parameters);
    let (forward, backward) = match ways {
        FaultWays::Towards => (lane, WireLane::default()),
        FaultWays::Back => (WireLane::default(), lane),
        FaultWays::Both => (lane, lane),
    };
    WireEffect::Shape { forward, backward }
}

fn lane(kind: FaultKind, parameters: &FaultParameters) -> WireLane {
    let detail = &parameters.detail;
    WireLane {
        cut: kind == FaultKind::Cut,
        delay_us: parameters.delay_us,
        jitter_us: parameters.jitter_us,
        correlation_percent: detail.correlation_percent.unwrap_or_default(),
        loss_ppm: detail.loss_ppm.unwrap_or_default(),
        bytes_per_second: detail.bytes_per_second,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_way_is_forward_where_the_target_connects_and_backward_where_it_is_reached() {
        let mut parameters = FaultParameters {
            delay_us: 9,
            one_way: true,
            ..FaultParameters::default()
        };
        let slow = WireLane {
            delay_us: 9,
            ..WireLane::default()
        };
        let still = WireLane::default();
        let shape = |forward, backward| WireEffect::Shape { forward, backward };
        assert_eq!(
            effects(FaultKind::Delay, &parameters),
            (shape(slow, still), shape(still, slow))
        );
        parameters.one_way = false;
        let delay = WireEffect::Delay {
            delay_us: 9,
            jitter_us: 0,
        };
        assert_eq!(effects(FaultKind::Delay, &parameters), (delay, delay));
        let cut = WireLane {
            cut: true,
            ..WireLane::default()
        };
        assert_eq!(
            at_door(FaultKind::Cut, &FaultParameters::default(), FaultWays::Back),
            shape(still, cut)
        );
    }
}

//! Every check: what makes it pass, warn and fail, and what it then says.

use rdmamesh_api::node::GidStatus;

use super::machine::{Machine, MemLock};
use super::*;

mod addresses;
mod command;
mod devices;
mod hosts;

/// A machine that is fine, to be spoilt by the tests.
struct Patient {
    survey: Survey,
    ports: Vec<PortStatus>,
    dscps: Vec<u8>,
    tracing: bool,
}

impl Patient {
    /// With two hardware ports, `a:1` and `b:1`.
    fn healthy() -> Self {
        Self {
            survey: Survey {
                machine: Machine {
                    shared_netns: Some(true),
                    memlock: Some(MemLock::Unlimited),
                    kernel_btf: true,
                    ib_core_btf: Some(true),
                    ..Machine::default()
                },
                ..Survey::default()
            },
            ports: vec![port("a"), port("b")],
            dscps: Vec::new(),
            tracing: false,
        }
    }

    fn all(&self) -> Vec<DoctorResult> {
        examine(&Subject {
            survey: &self.survey,
            ports: &self.ports,
            elsewhere: 0,
            dscps: &self.dscps,
            tracing: self.tracing,
        })
    }

    /// The result of one check; `None` when it was not made.
    fn check(&self, name: &str) -> Option<DoctorResult> {
        self.all().into_iter().find(|result| result.check == name)
    }

    /// Asserts outcome, and that the text (message and remedy) contains all of this.
    fn expect(&self, name: &str, outcome: DoctorOutcome, said: &[&str]) {
        let result = self.check(name);
        let result = result.unwrap_or_else(|| unreachable!("{name} was not examined"));
        assert_eq!(result.outcome, outcome, "{result:?}");
        let remedy = result.remedy.clone().unwrap_or_default();
        let text = format!("{} | {remedy}", result.message);
        for part in said {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
        assert!(
            outcome == DoctorOutcome::Pass || !remedy.is_empty(),
            "a remedy is needed: {text}"
        );
    }
}

fn port(device: &str) -> PortStatus {
    PortStatus {
        device: device.to_owned(),
        port: 1,
        link_layer: "Ethernet".to_owned(),
        state: "Active".to_owned(),
        physical_state: "LinkUp".to_owned(),
        mtu: Some(9000),
        netdev: Some(format!("net-{device}")),
        pci: Some("0000:3b:00.0".to_owned()),
        gids: vec![gid(3, "::ffff:10.0.0.1", "RoCEv2")],
        usable: true,
        ..PortStatus::default()
    }
}

fn gid(index: u16, gid: &str, kind: &str) -> GidStatus {
    GidStatus {
        index,
        gid: gid.to_owned(),
        r#type: kind.to_owned(),
    }
}

#[test]
fn nothing_is_wrong_with_a_healthy_machine() {
    let patient = Patient::healthy();
    for result in patient.all() {
        assert_eq!(result.outcome, DoctorOutcome::Pass, "{result:?}");
    }
}

#[test]
fn names_of_checks_are_unique_and_fit_the_api() {
    let mut patient = Patient::healthy();
    patient.tracing = true;
    let results = patient.all();
    let mut names: Vec<&str> = results.iter().map(|result| result.check.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), results.len());
    assert!(results.len() <= 64);
}

mod conditions {
    use std::time::SystemTime;

    use super::*;
    use crate::doctor::verdict::condition_of;

    #[test]
    fn a_failure_explains_itself_in_the_condition() {
        let mut patient = Patient::healthy();
        let of = |patient: &Patient| condition_of(&patient.all(), SystemTime::UNIX_EPOCH, &[]);
        assert_eq!(of(&patient).reason, "ChecksPassed");
        patient.ports[0].state = "Down".to_owned();
        let warned = of(&patient);
        let got = (&*warned.status, &*warned.reason);
        assert_eq!(got, ("True", "PassedWithWarnings"));
        patient.ports[1].state = "Down".to_owned();
        patient.ports[0].physical_state = "Disabled".to_owned();
        let failed = of(&patient);
        assert_eq!(
            (&*failed.status, &*failed.reason),
            ("False", "ChecksFailed")
        );
        assert_eq!(
            failed.message,
            "PortActive: a:1 is Down, b:1 is Down (to do: ip link set net-a up)"
        );
    }
}

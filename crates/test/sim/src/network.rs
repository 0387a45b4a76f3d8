//! The network between hosts: latency, loss, doubling, cuts in one direction or both.

use crate::random::Random;

/// What the links do in one schedule.
#[derive(Clone, Debug)]
pub struct Network {
    hosts: usize,
    /// One-way latency in microseconds.
    latency: Vec<u64>,
    cut: Vec<bool>,
    /// Added by a fault.
    delay: Vec<u64>,
    pub loss_per_mille: u64,
    pub double_per_mille: u64,
    pub jitter_us: u64,
}

impl Network {
    pub fn new(hosts: usize, random: &mut Random) -> Self {
        let far = [0, 0, 2_000, 17_000, 40_000];
        let base = far[random.below(far.len() as u64) as usize];
        let mut latency = vec![150; hosts * hosts];
        for a in 0..hosts {
            for b in 0..a {
                let one_way = 150 + random.below(base + 1);
                latency[a * hosts + b] = one_way;
                latency[b * hosts + a] = one_way;
            }
        }
        Self {
            hosts,
            latency,
            cut: vec![false; hosts * hosts],
            delay: vec![0; hosts * hosts],
            loss_per_mille: [0, 0, 5, 30, 100][random.below(5) as usize],
            double_per_mille: [0, 10][random.below(2) as usize],
            jitter_us: [100, 2_000, 20_000][random.below(3) as usize],
        }
    }

    /// Of one machine: nothing is lost or late.
    pub fn local(hosts: usize) -> Self {
        Self {
            hosts,
            latency: vec![150; hosts * hosts],
            cut: vec![false; hosts * hosts],
            delay: vec![0; hosts * hosts],
            loss_per_mille: 0,
            double_per_mille: 0,
            jitter_us: 100,
        }
    }

    fn link(&self, from: usize, to: usize) -> usize {
        from * self.hosts + to
    }

    pub fn cut(&mut self, from: usize, to: usize, cut: bool) {
        let link = self.link(from, to);
        self.cut[link] = cut;
    }

    pub fn delay(&mut self, from: usize, to: usize, added_us: u64) {
        let link = self.link(from, to);
        self.delay[link] = added_us;
    }

    pub fn heal(&mut self) {
        self.cut.fill(false);
        self.delay.fill(0);
        self.loss_per_mille = 0;
    }

    pub fn is_open(&self, from: usize, to: usize) -> bool {
        !self.cut[self.link(from, to)]
    }

    pub fn is_open_both(&self, a: usize, b: usize) -> bool {
        self.is_open(a, b) && self.is_open(b, a)
    }

    /// How long a message takes, jitter included.
    pub fn latency(&self, from: usize, to: usize, random: &mut Random) -> u64 {
        let link = self.link(from, to);
        self.latency[link] + self.delay[link] + random.below(self.jitter_us + 1)
    }
}

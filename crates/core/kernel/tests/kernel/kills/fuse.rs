//! When whoever is at work dies.

/// How long a node that was killed stays away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Away {
    /// Back before anybody misses it.
    Short,
    /// Another one leads meanwhile.
    Long,
    /// Its host is lost meanwhile, and what it ran goes on elsewhere.
    Lost,
}

impl Away {
    pub const ALL: [Self; 3] = [Self::Short, Self::Long, Self::Lost];

    pub const fn as_ms(self) -> u64 {
        match self {
            Self::Short => 700,
            Self::Long => 6_000,
            Self::Lost => 30_000,
        }
    }
}

/// Burns down with every moment that matters, and strikes at those that it was told.
#[derive(Clone, Debug, Default)]
pub struct Fuse {
    strikes: Vec<u32>,
    lit: bool,
    pub passed: u32,
    /// What was about to happen at each moment.
    pub moments: Vec<&'static str>,
}

impl Fuse {
    pub fn at(strikes: &[u32]) -> Self {
        Self {
            strikes: strikes.to_vec(),
            ..Self::default()
        }
    }

    pub fn light(&mut self) {
        self.lit = true;
    }

    /// Whether whoever is at this moment dies.
    pub fn strikes(&mut self, moment: &'static str) -> bool {
        if !self.lit {
            return false;
        }
        let strikes = self.strikes.contains(&self.passed);
        self.passed += 1;
        self.moments.push(moment);
        strikes
    }
}

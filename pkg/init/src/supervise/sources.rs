//! What a descriptor of the loop is, as 64 bits: the kind above, the position below.

/// Where something can be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Signals.
    Signals,
    /// The kernel's device events.
    Uevents,
    /// What the child tells that creates a container.
    Status(usize),
    /// What a container prints on standard output.
    Output(usize),
    /// What it prints on standard error.
    Errors(usize),
    /// What a service says by sd_notify.
    Notify(usize),
    /// A console that can take more.
    Console(usize),
    /// A power button.
    Button(usize),
    /// Who is to be answered, or to get what was said (`control`).
    Desk(usize),
}

impl Source {
    /// As epoll carries it.
    pub fn token(self) -> u64 {
        let (kind, position) = match self {
            Self::Signals => (0, 0),
            Self::Uevents => (1, 0),
            Self::Status(i) => (2, i),
            Self::Output(i) => (3, i),
            Self::Console(i) => (4, i),
            Self::Button(i) => (5, i),
            Self::Notify(i) => (6, i),
            Self::Desk(i) => (7, i),
            Self::Errors(i) => (8, i),
        };
        (kind << 32) | (position as u64 & 0xffff_ffff)
    }

    /// From what epoll gives back.
    pub fn of(token: u64) -> Self {
        let position = (token & 0xffff_ffff) as usize;
        match token >> 32 {
            0 => Self::Signals,
            1 => Self::Uevents,
            2 => Self::Status(position),
            3 => Self::Output(position),
            4 => Self::Console(position),
            5 => Self::Button(position),
            6 => Self::Notify(position),
            7 => Self::Desk(position),
            _ => Self::Errors(position),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back() {
        for source in [
            Source::Signals,
            Source::Uevents,
            Source::Status(1),
            Source::Output(70_000),
            Source::Errors(2),
            Source::Notify(2),
            Source::Console(0),
            Source::Button(3),
            Source::Desk(4),
        ] {
            assert_eq!(Source::of(source.token()), source);
        }
    }
}

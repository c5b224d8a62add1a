//! Aims, and whether they are met.

/// Counts decide about the exit status. Memory, size and time are only said: they depend on the machine.
#[derive(Default)]
pub(crate) struct Verdict {
    lines: Vec<String>,
    missed: bool,
}

impl Verdict {
    /// An aim that every machine must meet.
    pub(crate) fn count(&mut self, met: bool, aim: &str) {
        self.missed |= !met;
        self.say(met, aim);
    }

    /// An aim that is only reported.
    pub(crate) fn say(&mut self, met: bool, aim: &str) {
        self.lines.push(format!("  {}  {aim}", if met { "PASS" } else { "MISS" }));
    }

    /// Prints all of them. `true` if no count is missed.
    pub(crate) fn conclude(&self) -> bool {
        println!("Aims\n");
        println!("{}", self.lines.join("\n"));
        !self.missed
    }
}

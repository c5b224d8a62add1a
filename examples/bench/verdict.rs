//! Targets, and whether they are met.

/// Counts decide the exit status. Memory, size and time depend on the machine and are only reported.
#[derive(Default)]
pub(crate) struct Verdict {
    lines: Vec<String>,
    missed: bool,
}

impl Verdict {
    /// A target that must be met on every machine.
    pub(crate) fn count(&mut self, met: bool, aim: &str) {
        self.missed |= !met;
        self.say(met, aim);
    }

    /// A target that is only reported.
    pub(crate) fn say(&mut self, met: bool, aim: &str) {
        self.lines.push(format!("  {}  {aim}", if met { "PASS" } else { "MISS" }));
    }

    /// Prints all targets. Returns `true` if no count misses its target.
    pub(crate) fn conclude(&self) -> bool {
        println!("Targets\n");
        println!("{}", self.lines.join("\n"));
        !self.missed
    }
}

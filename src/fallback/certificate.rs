//! To be written.
/// What nginx says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown<'a> {
    /// V.
    pub verify: &'a str,
    /// E.
    pub escaped: &'a str,
}

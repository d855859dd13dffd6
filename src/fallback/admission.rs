//! To be written.
/// To be replaced.
#[derive(Clone, Debug)]
pub struct Admitted;
impl Admitted {
    /// U.
    pub fn user(&self) -> &str {
        ""
    }
    /// E.
    pub fn ends_soon(&self) -> Option<http::HeaderValue> {
        None
    }
    /// G.
    pub fn groups(&self) -> &[String] {
        &[]
    }
}

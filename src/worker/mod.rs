//! What one worker is given, and how it says that it is ready.

pub mod envdir;
pub mod environment;
pub mod launch;
pub mod readiness;

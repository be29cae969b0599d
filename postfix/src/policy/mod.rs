//! Which restriction lists of Postfix ask which policy service, and how that is changed.
//!
//! Pure functions over the parsed configuration. Nothing here runs a program or writes a file: an
//! [`Edit`] is what `postconf -e` is to be given.

mod doctor;
mod edit;
mod restrictions;

pub use doctor::{Finding, Listener, Problem, doctor};
pub use edit::{Edit, EditError, Place, connect, disconnect};
pub use restrictions::{Consultation, Exception, Section, consultations, exceptions, is_same_endpoint};

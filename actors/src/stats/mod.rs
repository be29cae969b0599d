//! Statistics: what workers write down, the actor that adds it up, the report it gives.

pub mod report;

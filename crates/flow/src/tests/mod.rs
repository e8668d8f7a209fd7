//! Rules of the machines, held by exhaustive walks, random sequences and tables.

mod states_doc;

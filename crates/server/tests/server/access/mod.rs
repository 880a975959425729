//! Who may do what: the same rules over every face, logins that prove something, and what becomes of those that do
//! not.

mod certificates;
mod logins;
mod rates;
mod revocation;
mod shares;
mod support;
mod table;

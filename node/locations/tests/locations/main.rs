//! The master, its replicas and the rules of ownership, from outside.

#[cfg(test)]
mod counts;
#[cfg(test)]
mod cyrus_rows;
#[cfg(test)]
mod figures;
#[cfg(test)]
mod ownership_model;
#[cfg(test)]
mod ownership_table;
#[cfg(test)]
mod rebuilds;
#[cfg(test)]
mod replicas;
#[cfg(test)]
mod reports;
#[cfg(test)]
mod rows;
#[cfg(test)]
mod support;

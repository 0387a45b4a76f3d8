//! Values of parameters, and texts that hold them.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::book::{Action, Book, Condition, Parameter, ParameterKind, Place, Routed};
use crate::view::View;
use crate::why::Refusal;

pub type Values = BTreeMap<String, String>;

/// Longest value of a parameter, in bytes.
const VALUE_BYTES_MAX: usize = 256;

/// A text names a parameter that has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FillError {
    pub name: String,
}

/// The names between `${` and `}` in a text, with the place in bytes at which each begins.
pub fn names_in(text: &str) -> Vec<(usize, &str)> {
    let mut names = Vec::new();
    let mut from = 0;
    while let Some(start) = text[from..].find("${").map(|at| from + at) {
        let Some(length) = text[start..].find('}') else {
            break;
        };
        names.push((start, &text[start + 2..start + length]));
        from = start + length + 1;
    }
    names
}

/// The text with every `${name}` replaced. A value is never looked into again.
pub fn fill(text: &str, values: &Values) -> Result<String, FillError> {
    fill_escaped(text, values, ToOwned::to_owned)
}

/// As [`fill`], with what `escape` makes of each value.
pub(crate) fn fill_escaped(
    text: &str,
    values: &Values,
    escape: impl Fn(&str) -> String,
) -> Result<String, FillError> {
    let mut filled = String::with_capacity(text.len());
    let mut from = 0;
    for (start, name) in names_in(text) {
        let value = values.get(name).ok_or_else(|| FillError {
            name: name.to_owned(),
        })?;
        filled.push_str(&text[from..start]);
        filled.push_str(&escape(value));
        from = start + name.len() + 3;
    }
    filled.push_str(&text[from..]);
    Ok(filled)
}

impl Place {
    pub fn filled(&self, values: &Values) -> Result<Self, FillError> {
        Ok(match self {
            Self::Host(host) => Self::Host(fill(host, values)?),
            Self::Region(region) => Self::Region(fill(region, values)?),
        })
    }
}

impl Routed {
    pub fn filled(&self, values: &Values) -> Result<Self, FillError> {
        Ok(match self {
            Self::Service(service) => Self::Service(fill(service, values)?),
            Self::Route(path) => Self::Route(fill(path, values)?),
        })
    }
}

impl Action {
    pub fn filled(&self, values: &Values) -> Result<Self, FillError> {
        let fill = |text: &str| fill(text, values);
        Ok(match self {
            Self::Switchover { database, to } => Self::Switchover {
                database: fill(database)?,
                to: fill(to)?,
            },
            Self::Restart { host, instance } => Self::Restart {
                host: fill(host)?,
                instance: fill(instance)?,
            },
            Self::ClearFaults => Self::ClearFaults,
            Self::Drain(place) => Self::Drain(place.filled(values)?),
            Self::Return(place) => Self::Return(place.filled(values)?),
            Self::Run {
                host,
                program,
                arguments,
                allows,
            } => {
                let arguments: Result<_, _> = arguments.iter().map(|text| fill(text)).collect();
                Self::Run {
                    host: fill(host)?,
                    program: fill(program)?,
                    arguments: arguments?,
                    allows: allows.clone(),
                }
            }
            Self::Replace { host, instance } => Self::Replace {
                host: fill(host)?,
                instance: fill(instance)?,
            },
            Self::Rebuild { database, host } => Self::Rebuild {
                database: fill(database)?,
                host: fill(host)?,
            },
            Self::Http(call) => Self::Http(Box::new(call.filled(values)?)),
            Self::Notify { to, text } => Self::Notify {
                to: fill(to)?,
                text: fill(text)?,
            },
            Self::WorkItem(item) => Self::WorkItem(Box::new(item.filled(values)?)),
            Self::Shift { what, from, share } => Self::Shift {
                what: what.filled(values)?,
                from: fill(from)?,
                share: fill(share)?,
            },
            Self::Replicas { service, count } => Self::Replicas {
                service: fill(service)?,
                count: fill(count)?,
            },
            Self::Mode { service, mode } => Self::Mode {
                service: fill(service)?,
                mode: fill(mode)?,
            },
            Self::Wait(condition) => Self::Wait(Box::new(condition.filled(values)?)),
        })
    }
}

impl Condition {
    pub fn filled(&self, values: &Values) -> Result<Self, FillError> {
        let fill = |text: &str| fill(text, values);
        Ok(match self {
            Self::Query(query) => Self::Query(fill(query)?),
            Self::Ready { host, instance } => Self::Ready {
                host: fill(host)?,
                instance: fill(instance)?,
            },
            Self::Alive { host, instance } => Self::Alive {
                host: fill(host)?,
                instance: fill(instance)?,
            },
            Self::Primary { database, region } => Self::Primary {
                database: fill(database)?,
                region: fill(region)?,
            },
            Self::Replica { database, host } => Self::Replica {
                database: fill(database)?,
                host: fill(host)?,
            },
            Self::NoFaults => Self::NoFaults,
            Self::Quiet { alert } => Self::Quiet {
                alert: fill(alert)?,
            },
            Self::Instances { service, ready } => Self::Instances {
                service: fill(service)?,
                ready: fill(ready)?,
            },
            Self::Shifted {
                service,
                from,
                share,
            } => Self::Shifted {
                service: fill(service)?,
                from: fill(from)?,
                share: fill(share)?,
            },
            Self::Mode { service, mode } => Self::Mode {
                service: fill(service)?,
                mode: fill(mode)?,
            },
        })
    }
}

/// A value for every parameter of the book: what was given, what the alert says, the default.
pub fn values_of(
    book: &Book,
    given: &Values,
    labels: &BTreeMap<String, String>,
    view: &View,
) -> Result<Values, Refusal> {
    for name in given.keys() {
        if !book.parameters.iter().any(|known| known.name == *name) {
            return Err(Refusal::NoSuchParameter {
                book: book.name.clone(),
                parameter: name.clone(),
            });
        }
    }
    let mut values = Values::new();
    for parameter in &book.parameters {
        let label = parameter.label.as_ref().and_then(|label| labels.get(label));
        let value = given
            .get(&parameter.name)
            .or(label)
            .or(parameter.default.as_ref())
            .ok_or_else(|| Refusal::NoValue {
                parameter: parameter.name.clone(),
            })?;
        let unfit = |why: String| Refusal::Value {
            parameter: parameter.name.clone(),
            value: value.clone(),
            why,
        };
        parameter.check(value).map_err(unfit)?;
        view.names(parameter.kind, value).map_err(unfit)?;
        values.insert(parameter.name.clone(), value.clone());
    }
    Ok(values)
}

impl Parameter {
    /// Whether a value has the form that the parameter wants; whether such a thing exists, the platform knows.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, value: &str) -> Result<(), String> {
        if value.len() > VALUE_BYTES_MAX {
            return Err(format!("it has more than {VALUE_BYTES_MAX} bytes"));
        }
        if value.chars().any(char::is_control) {
            return Err("it has control characters".to_string());
        }
        if !self.one_of.is_empty() && !self.one_of.iter().any(|known| known == value) {
            return Err(format!("choose one of {}", self.one_of.join(", ")));
        }
        if self.kind != ParameterKind::Integer {
            return Ok(());
        }
        let number: i64 = value
            .parse()
            .map_err(|_| "a whole number is expected".to_string())?;
        if let Some(least) = self.least.filter(|least| number < *least) {
            return Err(format!("at least {least}"));
        }
        if let Some(most) = self.most.filter(|most| number > *most) {
            return Err(format!("at most {most}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_filled_once_and_values_are_not_looked_into() {
        let values = Values::from([
            ("host".into(), "use1-a".into()),
            ("evil".into(), "${host}".into()),
        ]);
        for (text, filled) in [
            ("plain", "plain"),
            ("${host}", "use1-a"),
            ("a ${host} b ${evil} c", "a use1-a b ${host} c"),
            ("${host", "${host"),
            ("$${host}}", "$use1-a}"),
        ] {
            assert_eq!(fill(text, &values).unwrap(), filled);
        }
        assert_eq!(fill("${no}", &values).unwrap_err().name, "no");
    }

    #[test]
    fn a_number_is_checked_by_its_bounds() {
        let parameter = Parameter {
            name: "n".into(),
            kind: ParameterKind::Integer,
            label: None,
            default: None,
            one_of: Vec::new(),
            least: Some(1),
            most: Some(3),
        };
        for (value, fits) in [
            ("1", true),
            ("3", true),
            ("0", false),
            ("4", false),
            ("x", false),
        ] {
            assert_eq!(parameter.check(value).is_ok(), fits, "{value}");
        }
    }
}

//! How an error is told.

/// An error with its causes, on one line. Some errors of others say their causes themselves; nothing is said twice.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Sample {
        #[error("read it")]
        Plain(#[source] std::io::Error),
        #[error("read it: {0}")]
        Telling(#[source] std::io::Error),
    }

    #[test]
    fn causes_are_said_once() {
        let cause = || std::io::Error::other("the disk is gone");
        let expected = "read it: the disk is gone";
        assert_eq!(chain(&Sample::Plain(cause())), expected);
        assert_eq!(chain(&Sample::Telling(cause())), expected);
    }
}

//! What a notice says, to people and to programs.

use mainstay_notify::{Kind, Notice};

/// Names a notice of one platform among all, and the same in every repetition.
pub fn key(platform: &str, notice: &Notice) -> String {
    format!("{platform}/{}/{}", notice.open_ms, notice.number)
}

/// Names an incident among all: one that came back is another call.
pub fn incident_key(platform: &str, notice: &Notice) -> String {
    let key = format!("mainstay/{platform}/{}/{}", notice.incident, notice.open_ms);
    cut(&key, 255)
}

/// At most so many bytes, whole characters.
pub fn cut(text: &str, bytes: usize) -> String {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

const fn verb(kind: Kind) -> &'static str {
    match kind {
        Kind::Trigger => "needs somebody",
        Kind::Update => "is worse than was told",
        Kind::Acknowledge => "is acknowledged",
        Kind::Remind => "still goes on",
        Kind::Resolve => "is no call any more",
        Kind::Say => "says",
    }
}

/// In one line.
pub fn line(platform: &str, notice: &Notice) -> String {
    let severity = notice.severity.as_str().to_uppercase();
    let (incident, verb) = (&notice.incident, verb(notice.kind));
    let line = format!(
        "[{severity}] {platform} {incident} {verb}: {}",
        notice.title
    );
    line.replace(['\r', '\n'], " ")
}

/// In a few, with what to do.
pub fn lines(platform: &str, notice: &Notice) -> String {
    let things: Vec<&str> = notice.things.iter().map(String::as_str).collect();
    let mut text = line(platform, notice);
    if !notice.text.is_empty() {
        text.push_str(&format!("\n{}", notice.text));
    }
    if !things.is_empty() {
        text.push_str(&format!("\nabout: {}", things.join(", ")));
    }
    if notice.kind == Kind::Trigger {
        let incident = &notice.incident;
        text.push_str(&format!(
            "\nmainstay incident show {incident}\nmainstay incident acknowledge {incident} --reason …"
        ));
    }
    text
}

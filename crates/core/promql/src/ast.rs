//! The tree of a question. Every node knows the bytes of the text it came from.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use crate::functions::Function;
use crate::labels::{Labels, NAME};
use crate::matcher::{Matcher, Operator};

/// Bytes of the text, end excluded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Scalar,
    String,
    Vector,
    Matrix,
}

impl Type {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Expr {
    pub kind: Kind,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub enum Kind {
    Number(f64),
    /// Bytes, since escapes can spell what is no UTF-8.
    String(Vec<u8>),
    Selector(Selector),
    Subquery(Box<Subquery>),
    Paren(Box<Expr>),
    Unary {
        negative: bool,
        inner: Box<Expr>,
    },
    Binary(Box<Binary>),
    Aggregate(Box<Aggregate>),
    Call {
        function: &'static Function,
        arguments: Vec<Expr>,
    },
}

#[derive(Clone, Debug)]
pub struct Selector {
    /// Different for each selector of a question.
    pub id: usize,
    pub name: Option<String>,
    /// With the matcher of the name.
    pub matchers: Vec<Matcher>,
    /// Present for a range vector.
    pub range: Option<Length>,
    pub edges: Edges,
    pub when: When,
}

/// What stands at the edges of a window, where there is hardly ever a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Edges {
    /// Nothing: only what lies within counts.
    #[default]
    Open,
    /// `anchored`: at the left edge, the last sample before it.
    Anchored,
    /// `smoothed`: at both, what lies on the line between the samples before and after.
    Smoothed,
}

impl Edges {
    pub const fn word(self) -> Option<&'static str> {
        match self {
            Self::Open => None,
            Self::Anchored => Some("anchored"),
            Self::Smoothed => Some("smoothed"),
        }
    }
}

/// Where in time a selector or subquery looks.
#[derive(Clone, Debug, Default)]
pub struct When {
    pub offset: Option<Length>,
    pub at: Option<At>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Milliseconds since 1970.
    Time(i64),
    Start,
    End,
}

/// A duration as it is written: a constant, or arithmetic that may use the step of the query.
#[derive(Clone, Debug, PartialEq)]
pub enum Length {
    /// Seconds.
    Constant(f64),
    Step,
    Range,
    Negative(Box<Length>),
    Paren(Box<Length>),
    Binary(LengthOperator, Box<Length>, Box<Length>),
    Least(Box<Length>, Box<Length>),
    Greatest(Box<Length>, Box<Length>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LengthOperator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
}

#[derive(Clone, Debug)]
pub struct Subquery {
    pub inner: Expr,
    pub range: Length,
    pub step: Option<Length>,
    pub when: When,
}

#[derive(Clone, Debug)]
pub struct Binary {
    pub operator: BinaryOperator,
    pub left: Expr,
    pub right: Expr,
    pub returns_bool: bool,
    pub matching: Matching,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOperator {
    Or,
    And,
    Unless,
    Equal,
    NotEqual,
    LessOrEqual,
    Less,
    GreaterOrEqual,
    Greater,
    /// `</`: a histogram without its observations above a value.
    TrimUpper,
    /// `>/`: a histogram without its observations below a value.
    TrimLower,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Atan2,
    Power,
}

impl BinaryOperator {
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Or => "or",
            Self::And => "and",
            Self::Unless => "unless",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::LessOrEqual => "<=",
            Self::Less => "<",
            Self::GreaterOrEqual => ">=",
            Self::Greater => ">",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Modulo => "%",
            Self::Atan2 => "atan2",
            Self::Power => "^",
        }
    }

    /// The higher binds the tighter.
    pub const fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And | Self::Unless => 2,
            Self::Equal
            | Self::NotEqual
            | Self::LessOrEqual
            | Self::Less
            | Self::GreaterOrEqual
            | Self::Greater
            | Self::TrimUpper
            | Self::TrimLower => 3,
            Self::Add | Self::Subtract => 4,
            Self::Multiply | Self::Divide | Self::Modulo | Self::Atan2 => 5,
            Self::Power => 6,
        }
    }

    pub const fn is_comparison(self) -> bool {
        self.precedence() == 3 && !self.is_trim()
    }

    pub const fn is_trim(self) -> bool {
        matches!(self, Self::TrimUpper | Self::TrimLower)
    }

    pub const fn is_set(self) -> bool {
        self.precedence() < 3
    }
}

/// Which samples of two vectors belong together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matching {
    /// `on` these labels, or else `ignoring` them.
    pub on: bool,
    pub labels: Vec<String>,
    pub cardinality: Cardinality,
    /// Labels taken over from the side of the one.
    pub include: Vec<String>,
    pub fill: Fill,
}

/// Values for samples without a partner; nothing, and they are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fill {
    /// `fill_left`: what stands for a missing left side, or for a missing side of the many.
    pub left: Option<f64>,
    /// `fill_right`: what stands for a missing right side, or for a missing side of the one.
    pub right: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cardinality {
    #[default]
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
}

#[derive(Clone, Debug)]
pub struct Aggregate {
    pub operator: Aggregation,
    pub inner: Expr,
    pub parameter: Option<Expr>,
    /// `without` these labels, or else `by` them.
    pub without: bool,
    pub labels: Vec<String>,
    /// Whether `by` or `without` was written.
    pub grouped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregation {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    TopK,
    BottomK,
    CountValues,
    Quantile,
    LimitK,
    LimitRatio,
}

impl Aggregation {
    pub const ALL: [Self; 14] = [
        Self::Sum,
        Self::Avg,
        Self::Count,
        Self::Min,
        Self::Max,
        Self::Group,
        Self::Stddev,
        Self::Stdvar,
        Self::TopK,
        Self::BottomK,
        Self::CountValues,
        Self::Quantile,
        Self::LimitK,
        Self::LimitRatio,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Count => "count",
            Self::Min => "min",
            Self::Max => "max",
            Self::Group => "group",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::TopK => "topk",
            Self::BottomK => "bottomk",
            Self::CountValues => "count_values",
            Self::Quantile => "quantile",
            Self::LimitK => "limitk",
            Self::LimitRatio => "limit_ratio",
        }
    }

    pub const fn parameter(self) -> Option<Type> {
        match self {
            Self::CountValues => Some(Type::String),
            Self::TopK | Self::BottomK | Self::Quantile | Self::LimitK | Self::LimitRatio => {
                Some(Type::Scalar)
            }
            Self::Sum
            | Self::Avg
            | Self::Count
            | Self::Min
            | Self::Max
            | Self::Group
            | Self::Stddev
            | Self::Stdvar => None,
        }
    }
}

impl Expr {
    pub fn kind_of(&self) -> Type {
        match &self.kind {
            Kind::Number(_) => Type::Scalar,
            Kind::String(_) => Type::String,
            Kind::Selector(selector) if selector.range.is_some() => Type::Matrix,
            Kind::Subquery(_) => Type::Matrix,
            Kind::Selector(_) | Kind::Aggregate(_) => Type::Vector,
            Kind::Paren(inner) | Kind::Unary { inner, .. } => inner.kind_of(),
            Kind::Binary(binary) => match (binary.left.kind_of(), binary.right.kind_of()) {
                (Type::Scalar, Type::Scalar) => Type::Scalar,
                _ => Type::Vector,
            },
            Kind::Call { function, .. } => function.returns,
        }
    }

    /// Without the parentheses around it.
    pub fn bare(&self) -> &Self {
        match &self.kind {
            Kind::Paren(inner) => inner.bare(),
            _ => self,
        }
    }

    /// The parts directly below, in the order of the text.
    pub fn children(&self) -> Vec<&Self> {
        match &self.kind {
            Kind::Number(_) | Kind::String(_) | Kind::Selector(_) => Vec::new(),
            Kind::Subquery(subquery) => alloc::vec![&subquery.inner],
            Kind::Paren(inner) | Kind::Unary { inner, .. } => alloc::vec![&**inner],
            Kind::Binary(binary) => alloc::vec![&binary.left, &binary.right],
            Kind::Aggregate(aggregate) => aggregate
                .parameter
                .iter()
                .chain([&aggregate.inner])
                .collect(),
            Kind::Call { arguments, .. } => arguments.iter().collect(),
        }
    }

    pub fn children_mut(&mut self) -> Vec<&mut Self> {
        match &mut self.kind {
            Kind::Number(_) | Kind::String(_) | Kind::Selector(_) => Vec::new(),
            Kind::Subquery(subquery) => alloc::vec![&mut subquery.inner],
            Kind::Paren(inner) | Kind::Unary { inner, .. } => alloc::vec![&mut **inner],
            Kind::Binary(binary) => alloc::vec![&mut binary.left, &mut binary.right],
            Kind::Aggregate(aggregate) => {
                let parameter = aggregate.parameter.iter_mut();
                parameter.chain([&mut aggregate.inner]).collect()
            }
            Kind::Call { arguments, .. } => arguments.iter_mut().collect(),
        }
    }

    /// Calls `visit` with every node, from the root down.
    pub fn walk<'a>(&'a self, visit: &mut dyn FnMut(&'a Self)) {
        visit(self);
        for child in self.children() {
            child.walk(visit);
        }
    }
}

impl Selector {
    /// The labels that every series found must have: what `absent` answers with.
    pub fn certain_labels(&self) -> Labels {
        let others = || self.matchers.iter().filter(|matcher| matcher.label != NAME);
        let equal = others().filter(|matcher| {
            matcher.operator == Operator::Equal
                && others()
                    .filter(|other| other.label == matcher.label)
                    .count()
                    == 1
        });
        Labels::new(equal.map(|matcher| (matcher.label.clone(), matcher.value.clone())))
    }
}

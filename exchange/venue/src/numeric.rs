//! Whole numbers of 128 bits as PostgreSQL's `numeric`, in its binary form: groups of four decimal digits.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numeric(pub i128);

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const BASE: u128 = 10_000;

fn encode(number: i128, out: &mut BytesMut) {
    // 2^127 has 39 digits: ten groups at most.
    let mut groups = [0u16; 10];
    let mut count = 0;
    let mut rest = number.unsigned_abs();
    while rest > 0 {
        groups[count] = (rest % BASE) as u16;
        rest /= BASE;
        count += 1;
    }
    out.put_u16(count as u16);
    out.put_i16(count as i16 - i16::from(count > 0));
    out.put_u16(if number < 0 { NEGATIVE } else { POSITIVE });
    out.put_u16(0);
    for group in groups[..count].iter().rev() {
        out.put_u16(*group);
    }
}

impl ToSql for Numeric {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        encode(self.0, out);
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::NUMERIC
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(number: i128) -> String {
        let mut out = BytesMut::new();
        encode(number, &mut out);
        out.chunks(2)
            .map(|pair| format!("{:04x} ", u16::from_be_bytes([pair[0], pair[1]])))
            .collect()
    }

    #[test]
    fn groups_weight_and_sign_stand_where_the_server_reads_them() {
        assert_eq!(hex(0), "0000 0000 0000 0000 ");
        assert_eq!(hex(1), "0001 0000 0000 0000 0001 ");
        assert_eq!(hex(-10_002), "0002 0001 4000 0000 0001 0002 ");
        assert_eq!(hex(100_000_000), "0003 0002 0000 0000 0001 0000 0000 ");
    }
}

//! The `dns` probe: a backend passes when it answers a question with the expected code, and with a record of the type that
//! was asked for where that code is NOERROR.

use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, RCODE};

use super::{
    super::{Job, Outcome},
    connect::fault,
    token,
    udp::{connected, receive},
};
use crate::config::DnsCheck;

/// Asks and judges the answer.
pub(super) async fn check(job: &Job, check: &DnsCheck) -> Result<(), Outcome> {
    let id = token() as u16;
    let question =
        question(id, check).map_err(|error| Outcome::Inconclusive(format!("cannot ask: {error}")))?;
    let socket = connected(job).await?;
    socket.send(&question).await.map_err(|error| fault(&error))?;
    loop {
        let answer = receive(job, &socket).await?;
        // One that is late answers a question before this one only where both had the same port.
        if answer.starts_with(&id.to_be_bytes()) {
            return judge(&answer, check).map_err(Outcome::Failed);
        }
    }
}

fn question(id: u16, check: &DnsCheck) -> Result<Vec<u8>, simple_dns::SimpleDnsError> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(&check.name)?;
    packet.questions.push(Question::new(name, check.record.0.into(), CLASS::IN.into(), false));
    packet.build_bytes_vec()
}

fn judge(answer: &[u8], check: &DnsCheck) -> Result<(), String> {
    let answer = Packet::parse(answer).map_err(|_| "the answer is not DNS".to_owned())?;
    if !answer.has_flags(PacketFlag::RESPONSE) {
        return Err("the answer is a question".to_owned());
    }
    let rcode = answer.rcode();
    if rcode != check.rcode.0 {
        return Err(format!("{}, expected {}", name_of(rcode), check.rcode.1));
    }
    let wanted = check.record.0;
    if rcode != RCODE::NoError || answer.answers.iter().any(|record| record.rdata.type_code() == wanted) {
        return Ok(());
    }
    Err(format!("{} has no {} record", check.name, check.record.1))
}

/// As other tools call it.
fn name_of(rcode: RCODE) -> String {
    match rcode {
        RCODE::NoError => "NOERROR".to_owned(),
        RCODE::FormatError => "FORMERR".to_owned(),
        RCODE::ServerFailure => "SERVFAIL".to_owned(),
        RCODE::NameError => "NXDOMAIN".to_owned(),
        RCODE::NotImplemented => "NOTIMP".to_owned(),
        RCODE::Refused => "REFUSED".to_owned(),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use simple_dns::{
        ResourceRecord, TYPE,
        rdata::{A, RData},
    };

    use super::*;
    use crate::config::{Rcode, Record};

    fn wanted() -> DnsCheck {
        DnsCheck {
            name: "health.example.org".to_owned(),
            record: Record(TYPE::A, "A"),
            rcode: Rcode(RCODE::NoError, "NOERROR"),
        }
    }

    /// An answer with that code, and that many records.
    fn answer(rcode: RCODE, records: usize) -> Vec<u8> {
        let mut packet = Packet::new_reply(7);
        *packet.rcode_mut() = rcode;
        let name = Name::new("health.example.org").unwrap();
        let address = RData::A(A { address: 0xc000_0201 });
        packet.answers.resize(records, ResourceRecord::new(name, CLASS::IN, 60, address));
        packet.build_bytes_vec().unwrap()
    }

    #[test]
    fn question_is_one_of_the_record() {
        let bytes = question(0x1234, &wanted()).unwrap();
        let header = [0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
        let name = b"\x06health\x07example\x03org\x00";
        assert_eq!(bytes, [&header[..], name, &[0, 1, 0, 1]].concat());
    }

    #[test]
    fn answer_is_judged_by_code_and_records() {
        let judged = |rcode, records| judge(&answer(rcode, records), &wanted());
        assert_eq!(judged(RCODE::NoError, 1), Ok(()));
        assert_eq!(judged(RCODE::NoError, 0), Err("health.example.org has no A record".to_owned()));
        assert_eq!(judged(RCODE::ServerFailure, 0), Err("SERVFAIL, expected NOERROR".to_owned()));
        let asked = question(7, &wanted()).unwrap();
        assert_eq!(judge(&asked, &wanted()), Err("the answer is a question".to_owned()));
        assert_eq!(judge(b"\0\x07pong", &wanted()), Err("the answer is not DNS".to_owned()));
    }

    #[test]
    fn refusal_can_be_what_is_expected() {
        let check = DnsCheck { rcode: Rcode(RCODE::Refused, "REFUSED"), ..wanted() };
        assert_eq!(judge(&answer(RCODE::Refused, 0), &check), Ok(()));
        assert_eq!(judge(&answer(RCODE::NoError, 1), &check), Err("NOERROR, expected REFUSED".to_owned()));
    }
}

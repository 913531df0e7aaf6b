//! `finding`.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::fields::Fields;
use super::identity;
use crate::model::finding::{Evidence, FindingEvent};
use crate::sinks::text::Bounded;

/// Writes the event's own keys.
pub fn write<M: SerializeMap>(
    fields: &mut Fields<M>,
    event: &FindingEvent,
) -> Result<(), M::Error> {
    identity::write(fields, &event.container)?;
    let finding = &event.finding;
    fields.put("finding.kind", finding.kind.name())?;
    fields.put("finding.phase", event.phase.name())?;
    fields.maybe("finding.lasted_ns", event.lasted_ns)?;
    fields.put("finding.severity", finding.severity.name())?;
    fields.put("finding.confidence", finding.confidence.name())?;
    fields.text("finding.summary", &finding.summary)?;
    fields.put("finding.evidence", &Facts(&finding.evidence))?;
    fields.text("finding.recommendation", &finding.recommendation)
}

/// An object of numbers and names; what is no number is left out.
struct Facts<'a>(&'a [(&'static str, Evidence)]);

impl Serialize for Facts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = Fields(serializer.serialize_map(None)?);
        for (name, evidence) in self.0 {
            match evidence {
                Evidence::Count(count) => fields.put(name, count)?,
                Evidence::Number(number) => fields.float(name, *number)?,
                Evidence::Text(text) => fields.put(name, &Bounded(text))?,
                Evidence::List(list) => {
                    let list: Vec<Facts<'_>> = list.iter().map(|facts| Facts(facts)).collect();
                    fields.put(name, &list)?;
                }
            }
        }
        fields.0.end()
    }
}

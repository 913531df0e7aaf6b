//! The labels and annotations that the user wants to see.

use std::collections::HashMap;
use std::sync::Arc;

use super::names::bounded;
use crate::model::identity::Attribute;

/// What the user has chosen; nothing by default.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    labels: Vec<Label>,
    annotations: Vec<(String, Arc<str>)>,
}

/// A label, and its keys in the output. They are OpenTelemetry's.
#[derive(Debug, PartialEq, Eq)]
struct Label {
    key: String,
    of_container: Arc<str>,
    of_pod: Arc<str>,
}

impl Chosen {
    /// By their keys; a key that is there twice counts once.
    pub fn new(labels: &[String], annotations: &[String]) -> Self {
        let distinct = |keys: &[String]| {
            let mut keys = keys.to_vec();
            keys.sort();
            keys.dedup();
            keys
        };
        let label = |key: String| Label {
            of_container: format!("container.label.{key}").into(),
            of_pod: format!("k8s.pod.label.{key}").into(),
            key,
        };
        let annotation = |key: String| {
            let shown = format!("k8s.pod.annotation.{key}").into();
            (key, shown)
        };
        Self {
            labels: distinct(labels).into_iter().map(label).collect(),
            annotations: distinct(annotations).into_iter().map(annotation).collect(),
        }
    }

    /// The chosen ones of a container's labels.
    pub(super) fn of_container(&self, labels: Option<&HashMap<String, String>>) -> Vec<Attribute> {
        let all = self.labels.iter();
        all.filter_map(|label| attribute(&label.of_container, labels?.get(&label.key)?))
            .collect()
    }

    /// The chosen ones of a pod's labels and annotations.
    pub(super) fn of_pod(
        &self,
        labels: &HashMap<String, String>,
        annotations: &HashMap<String, String>,
    ) -> Vec<Attribute> {
        let of_labels = self.labels.iter();
        let of_labels =
            of_labels.filter_map(|label| attribute(&label.of_pod, labels.get(&label.key)?));
        let of_annotations = self.annotations.iter();
        let of_annotations =
            of_annotations.filter_map(|(key, shown)| attribute(shown, annotations.get(key)?));
        of_labels.chain(of_annotations).collect()
    }
}

/// A fact; whose word it is, is put to it where it is handed on.
pub(super) fn attribute(key: &Arc<str>, value: &str) -> Option<Attribute> {
    Some(Attribute {
        key: Arc::clone(key),
        value: bounded(value.to_owned())?,
        resolver: "",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        let owned = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
        pairs.iter().map(owned).collect()
    }

    fn shown(attributes: Vec<Attribute>) -> Vec<(String, String)> {
        let pair = |one: Attribute| (one.key.to_string(), one.value);
        attributes.into_iter().map(pair).collect()
    }

    #[test]
    fn only_what_was_chosen_is_told() {
        let keys = ["app", "team", "app"].map(str::to_owned);
        let chosen = Chosen::new(&keys, &["owner".to_owned()]);
        let labels = texts(&[("app", "web"), ("secret", "x"), ("team", "")]);
        assert_eq!(
            shown(chosen.of_container(Some(&labels))),
            [("container.label.app".to_owned(), "web".to_owned())]
        );
        assert_eq!(
            shown(chosen.of_pod(&labels, &texts(&[("owner", "b"), ("app", "no")]))),
            [
                ("k8s.pod.label.app".to_owned(), "web".to_owned()),
                ("k8s.pod.annotation.owner".to_owned(), "b".to_owned()),
            ]
        );
        assert!(chosen.of_container(None).is_empty());
        assert!(Chosen::default().of_pod(&labels, &labels).is_empty());
        let long = texts(&[("app", &"x".repeat(100_000))]);
        assert!(chosen.of_container(Some(&long))[0].value.len() <= 512);
    }
}

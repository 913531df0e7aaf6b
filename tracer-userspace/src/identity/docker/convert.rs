//! From Docker's answers to names. Pure; every text is bounded.

use std::collections::HashMap;

use bollard::models::{ContainerInspectResponse, ContainerSummary, EventMessage};

use crate::identity::chosen::Chosen;
use crate::identity::client::is_id;
use crate::identity::names::{NameUpdate, Names, bounded};
use crate::model::exit::ExitReport;

/// One entry of `GET /containers/json`.
pub(super) fn from_summary(container: ContainerSummary, chosen: &Chosen) -> Option<NameUpdate> {
    // Legacy links add further names, as paths: `/other/alias`.
    let own = |name: &&String| !name.trim_start_matches('/').contains('/');
    let names = container.names.unwrap_or_default();
    let name = names.iter().find(own).or(names.first()).cloned();
    update(
        container.id,
        name,
        container.image,
        container.labels.as_ref(),
        chosen,
    )
}

/// `GET /containers/<id>/json`.
pub(super) fn from_inspect(
    container: ContainerInspectResponse,
    chosen: &Chosen,
) -> Option<NameUpdate> {
    let config = container.config.unwrap_or_default();
    let restart_count = container.restart_count.and_then(|n| u32::try_from(n).ok());
    let mut found = update(
        container.id,
        container.name,
        config.image,
        config.labels.as_ref(),
        chosen,
    )?;
    found.names.restart_count = restart_count;
    Some(found)
}

/// A container's end as an event tells it.
pub(super) struct Ended {
    pub container_id: String,
    code: Option<i32>,
    /// Whether a SIGKILL was sent to it before.
    pub killed: bool,
}

/// The end that an event tells, if it is one. Podman names the code otherwise, too.
pub(super) fn ended(event: &EventMessage) -> Option<Ended> {
    if !matches!(event.action.as_deref(), Some("die" | "died")) {
        return None;
    }
    let actor = event.actor.as_ref()?;
    let container_id = actor.id.clone().filter(|id| is_id(id))?;
    let attributes = actor.attributes.as_ref()?;
    let code = ["exitCode", "containerExitCode"]
        .iter()
        .find_map(|&key| attributes.get(key)?.parse().ok());
    Some(Ended {
        container_id,
        code,
        killed: false,
    })
}

/// How a container ended: the event's code, since an inspection may be of its next run already.
pub(super) fn exit_of(ended: &Ended, now: Option<ContainerInspectResponse>) -> ExitReport {
    let now = now.unwrap_or_default();
    let restart_count = now.restart_count.and_then(|n| u32::try_from(n).ok());
    let state = now.state.unwrap_or_default();
    ExitReport {
        code: ended.code,
        says_oom: state.running == Some(false) && state.oom_killed == Some(true),
        restart_count,
        killed_by: None,
    }
}

/// The container that an event says a SIGKILL was sent to: by `docker kill`, or when the grace period
/// of `docker stop` was over.
pub(super) fn killed(event: &EventMessage) -> Option<&str> {
    let actor = event.actor.as_ref()?;
    let signal = actor.attributes.as_ref()?.get("signal")?;
    let kill = event.action.as_deref() == Some("kill") && matches!(&**signal, "9" | "SIGKILL");
    actor.id.as_deref().filter(|_| kill)
}

/// One line of `GET /events`: the labels are among the attributes, and so are `name` and `image`.
pub(super) fn from_event(event: EventMessage, chosen: &Chosen) -> Option<NameUpdate> {
    let actor = event.actor?;
    let mut attributes = actor.attributes?;
    let name = attributes.remove("name");
    let image = attributes.remove("image");
    update(actor.id, name, image, Some(&attributes), chosen)
}

fn update(
    id: Option<String>,
    name: Option<String>,
    image: Option<String>,
    labels: Option<&HashMap<String, String>>,
    chosen: &Chosen,
) -> Option<NameUpdate> {
    let container_id = id.filter(|id| is_id(id))?;
    // The API writes names as paths, from the time when containers could be linked.
    let name = name.map(|name| name.trim_start_matches('/').to_owned());
    let label = |key: &str| labels?.get(key).cloned().and_then(bounded);
    let names = Names {
        container_name: name.and_then(bounded),
        image_name: image.and_then(bounded),
        k8s_namespace: label("io.kubernetes.pod.namespace"),
        k8s_pod_name: label("io.kubernetes.pod.name"),
        k8s_pod_uid: label("io.kubernetes.pod.uid"),
        k8s_container_name: label("io.kubernetes.container.name"),
        attributes: chosen.of_container(labels),
        ..Names::default()
    };
    names.container_name.is_some().then_some(NameUpdate {
        container_id,
        names,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f1c0de0aa55b00c9e8d7c6b5a4938271605f4e3d2c1b0a99887766554433221";

    fn summary(json: &str) -> Option<NameUpdate> {
        from_summary(
            serde_json::from_str(&json.replace("ID", ID)).unwrap(),
            &Chosen::default(),
        )
    }

    #[test]
    fn a_summary_gives_the_name_without_slash() {
        let found = summary(r#"{"Id":"ID","Names":["/other/web","/web"],"Image":"bb:1"}"#).unwrap();
        assert_eq!(found.container_id, ID);
        assert_eq!(found.names.container_name.as_deref(), Some("web"));
        assert_eq!(found.names.image_name.as_deref(), Some("bb:1"));
        assert_eq!(found.names.k8s_pod_name, None);
    }

    #[test]
    fn kubernetes_labels_are_read() {
        let event = format!(
            r#"{{"Type":"container","Action":"create","Actor":{{"ID":"{ID}","Attributes":{{
            "io.kubernetes.pod.name":"web-0","io.kubernetes.pod.namespace":"shop",
            "io.kubernetes.pod.uid":"u-1","io.kubernetes.container.name":"app",
            "image":"shop/web","name":"k8s_app_web-0"}}}}}}"#
        );
        let chosen = Chosen::new(&["io.kubernetes.pod.name".to_owned()], &[]);
        let names = from_event(serde_json::from_str(&event).unwrap(), &chosen)
            .unwrap()
            .names;
        let label = &names.attributes[0];
        assert_eq!(&*label.key, "container.label.io.kubernetes.pod.name");
        assert_eq!(label.value, "web-0");
        assert_eq!(names.container_name.as_deref(), Some("k8s_app_web-0"));
        assert_eq!(names.k8s_pod_name.as_deref(), Some("web-0"));
        assert_eq!(names.k8s_namespace.as_deref(), Some("shop"));
        assert_eq!(names.k8s_pod_uid.as_deref(), Some("u-1"));
        assert_eq!(names.k8s_container_name.as_deref(), Some("app"));
    }

    #[test]
    fn an_inspection_is_read() {
        let json = format!(
            r#"{{"Id":"{ID}","Name":"/web","Config":{{"Image":"bb:1","Labels":{{"io.kubernetes.pod.uid":"u"}}}}}}"#
        );
        let found = from_inspect(serde_json::from_str(&json).unwrap(), &Chosen::default()).unwrap();
        assert_eq!(found.names.container_name.as_deref(), Some("web"));
        assert_eq!(found.names.image_name.as_deref(), Some("bb:1"));
        assert_eq!(found.names.k8s_pod_uid.as_deref(), Some("u"));
    }

    #[test]
    fn incomplete_and_hostile_answers_give_nothing_or_less() {
        assert_eq!(summary("{}"), None);
        assert_eq!(summary(r#"{"Id":"ID"}"#), None);
        assert_eq!(summary(r#"{"Id":"ID","Names":["/"]}"#), None);
        assert_eq!(summary(r#"{"Id":"../x","Names":["/web"]}"#), None);
        let long = "ä".repeat(5_000);
        let found = summary(&format!(r#"{{"Id":"ID","Names":["/{long}"]}}"#)).unwrap();
        let name = found.names.container_name.unwrap();
        assert!(name.len() <= 512 && name.chars().all(|c| c == 'ä'));
        assert!(from_event(EventMessage::default(), &Chosen::default()).is_none());
        assert!(!is_id("a/../b") && !is_id("") && !is_id("a?b") && !is_id(&long));
    }
}

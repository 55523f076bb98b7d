//! Every key of a manifest, and the tests that show it both ways: with it and without, or with one value and with another.
//!
//! Each of them runs in micro-VMs here, and in processes in the suites `run` and `flow`.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::keeps::{
    a_deployed_manifest_asks_its_launcher, a_listener_shows_a_secret, keeps_know_each_other_by_their_roles,
    rule_16_a_certificate_is_renewed_before_its_end, rule_16_a_renewed_certificate_is_in_the_files,
    secrets_reach_the_program_and_nobody_else,
};
use crate::suite::{elf, files, http, identity, limits, names, network, refused, streams};

type Tests = &'static [fn()];

/// Names as in the schema; `*` is any name.
const KEYS: &[(&str, Tests)] = &[
    ("arg0", &[files::a_program_is_called_as_the_manifest_says]),
    ("args", &[streams::arguments_of_the_manifest_come_first, elf::arguments_and_environment_of_manifest_and_launcher]),
    ("connect", &[network::a_connection_of_the_manifest, network::destinations_that_nobody_listed_are_refused]),
    ("connect.name", &[identity::a_path_is_a_connection, refused::a_key_or_value_that_is_spelled_wrong]),
    ("connect.protocol", &[network::a_connection_of_the_manifest, network::tls_in_the_place_of_a_program]),
    ("connect.roles", &[keeps_know_each_other_by_their_roles]),
    (
        "connect.to",
        &[network::a_connection_of_the_manifest, network::a_connection_that_cannot_be_made_is_told_at_the_start],
    ),
    (
        "connect.trust",
        &[network::tls_in_the_place_of_a_program, network::requests_over_tls_trust_what_the_manifest_says],
    ),
    ("debug", &[network::a_key_of_debug_lets_everybody_be_reached]),
    ("debug.insecure_network", &[network::a_key_of_debug_lets_everybody_be_reached]),
    ("env", &[streams::the_environment_of_the_manifest_wins, elf::arguments_and_environment_of_manifest_and_launcher]),
    ("env.*.default", &[streams::the_manifest_takes_variables_of_the_host, a_deployed_manifest_asks_its_launcher]),
    ("env.*.host", &[streams::the_manifest_takes_variables_of_the_host, a_deployed_manifest_asks_its_launcher]),
    ("env.*.secret", &[secrets_reach_the_program_and_nobody_else]),
    ("file", &[files::files_of_the_package_are_read, files::nothing_of_the_host_is_there]),
    ("file.path", &[files::files_of_the_package_are_read, elf::a_file_that_nobody_gave_is_not_there]),
    ("file.source", &[files::files_of_the_package_are_read, files::a_source_that_is_not_there]),
    ("identity", &[identity::the_brief_is_a_file_if_the_manifest_says_so]),
    (
        "identity.files",
        &[identity::the_brief_is_a_file_if_the_manifest_says_so, rule_16_a_renewed_certificate_is_in_the_files],
    ),
    (
        "identity.lifetime",
        &[rule_16_a_certificate_is_renewed_before_its_end, rule_16_a_renewed_certificate_is_in_the_files],
    ),
    (
        "identity.names",
        &[a_deployed_manifest_asks_its_launcher, streams::names_of_a_certificate_are_not_asked_for_without_a_steward],
    ),
    ("invoke", &[files::a_reactor_is_entered_by_name]),
    (
        "kind",
        &[
            http::a_service_is_where_the_manifest_says,
            refused::a_service_without_a_handler,
            refused::a_command_that_is_a_service,
        ],
    ),
    ("limits", &[limits::memory]),
    ("limits.cpu", &[limits::computing]),
    ("limits.descriptors", &[limits::descriptors]),
    ("limits.elements", &[limits::tables]),
    ("limits.memory", &[limits::memory]),
    ("limits.requests", &[limits::requests]),
    ("limits.time", &[limits::computing, limits::waiting]),
    ("listen", &[network::a_listener_of_the_manifest, network::ports_that_nobody_listed_are_refused]),
    ("listen.certificate", &[a_listener_shows_a_secret]),
    ("listen.clients", &[keeps_know_each_other_by_their_roles]),
    ("listen.name", &[network::a_listener_of_the_manifest, refused::a_listener_that_is_spelled_wrong]),
    ("listen.port", &[http::a_service_is_where_the_manifest_says, network::a_listener_of_the_manifest]),
    (
        "listen.protocol",
        &[
            http::the_greeter_greets,
            refused::https_without_a_certificate,
            network::a_listener_for_tls_needs_a_certificate,
        ],
    ),
    ("listen.roles", &[keeps_know_each_other_by_their_roles]),
    ("mount", &[files::mounts_are_written_to, files::nothing_of_the_host_is_there]),
    ("mount.kind", &[files::mounts_are_written_to, files::a_folder_of_the_host_is_read]),
    ("mount.path", &[files::mounts_are_written_to, files::the_launcher_gives_the_folders_that_the_manifest_has]),
    ("mount.size", &[files::a_mount_holds_what_it_says]),
    ("network", &[network::destinations_that_nobody_listed_are_refused]),
    (
        "network.connect",
        &[network::destinations_that_nobody_listed_are_refused, network::requests_go_where_the_manifest_says],
    ),
    ("network.listen", &[network::ports_that_nobody_listed_are_refused]),
    ("network.resolve", &[network::names_that_nobody_listed_are_not_asked_for]),
    ("network.resolver", &[names::names_are_asked_of_the_resolver, names::a_resolver_over_tls_proves_itself]),
    (
        "network.udp",
        &[
            network::datagrams_go_to_listed_peers,
            network::datagrams_from_elsewhere_are_dropped,
            network::datagrams_at_a_listed_port,
        ],
    ),
    ("program", &[refused::a_manifest_without_a_program, refused::a_manifest_whose_program_is_missing]),
    ("secret", &[secrets_reach_the_program_and_nobody_else]),
    ("secret.name", &[secrets_reach_the_program_and_nobody_else]),
    ("secret.path", &[secrets_reach_the_program_and_nobody_else]),
    ("secret.previous", &[secrets_reach_the_program_and_nobody_else]),
    ("stderr", &[streams::the_manifest_can_close_the_streams, elf::standard_streams_lead_where_the_manifest_says]),
    ("stdin", &[streams::the_manifest_can_close_the_streams, elf::standard_streams_lead_where_the_manifest_says]),
    ("stdout", &[streams::the_manifest_can_close_the_streams, elf::standard_streams_lead_where_the_manifest_says]),
    ("stubs", &[refused::a_stub_stands_for_what_nobody_offers]),
];

/// Every key below this schema.
fn keys(all: &Value, schema: &Value, above: &str, found: &mut BTreeSet<String>) {
    let name = |key: &str| if above.is_empty() { key.to_owned() } else { format!("{above}.{key}") };
    if let Some(other) = schema["$ref"].as_str() {
        let other = all.pointer(other.strip_prefix('#').unwrap()).expect("the schema has what it names");
        keys(all, other, above, found);
    }
    for (key, value) in schema["properties"].as_object().into_iter().flatten() {
        found.insert(name(key));
        keys(all, value, &name(key), found);
    }
    if schema["additionalProperties"].is_object() {
        keys(all, &schema["additionalProperties"], &name("*"), found);
    }
    for alternatives in ["anyOf", "oneOf", "allOf"] {
        for alternative in schema[alternatives].as_array().into_iter().flatten() {
            keys(all, alternative, above, found);
        }
    }
    if schema["items"].is_object() {
        keys(all, &schema["items"], above, found);
    }
}

#[test]
fn every_key_is_shown_both_ways() {
    let schema = include_str!("../../../../spec/manifest.schema.json");
    let schema: Value = serde_json::from_str(schema).unwrap();
    let mut found = BTreeSet::new();
    keys(&schema, &schema, "", &mut found);
    let shown: BTreeSet<_> = KEYS.iter().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(shown, found);
    assert!(KEYS.iter().all(|(_, tests)| !tests.is_empty()));
}

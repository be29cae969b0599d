//! Postfix's defaults of the parameters that decide what is local and who asks whom.
//!
//! As `postconf -d` of Postfix 3.7 to 3.12 prints them. Those that depend on how Postfix was built
//! (`alias_maps` on a system without NIS, for instance) can be asked of the installed `postconf`:
//! [`BuildDefaults`](crate::build::BuildDefaults). `myhostname` and `mydomain` are computed: see `config.rs`.

/// The default of `name`, unexpanded; `None` for a parameter that is not listed here.
pub(crate) fn default_of(name: &str) -> Option<&'static str> {
    DEFAULTS.binary_search_by(|(known, _)| (*known).cmp(name)).ok().map(|index| DEFAULTS[index].1)
}

/// The names of the parameters whose defaults are known, `myhostname` and `mydomain` left out.
pub fn known_parameters() -> impl Iterator<Item = &'static str> {
    DEFAULTS.iter().map(|(name, _)| *name)
}

/// In ASCII order: it is searched by halving.
const DEFAULTS: &[(&str, &str)] = &[
    ("access_map_reject_code", "554"),
    ("address_verify_map", "btree:$data_directory/verify_cache"),
    ("alias_database", "hash:/etc/aliases"),
    ("alias_maps", "hash:/etc/aliases, nis:mail.aliases"),
    ("allow_percent_hack", "yes"),
    ("allow_untrusted_routing", "no"),
    ("append_at_myorigin", "yes"),
    ("append_dot_mydomain", "${{$compatibility_level} <level {1} ? {yes} : {no}}"),
    ("canonical_maps", ""),
    ("command_directory", "/usr/sbin"),
    ("compatibility_level", "0"),
    ("config_directory", "/etc/postfix"),
    ("content_filter", ""),
    ("daemon_directory", "/usr/lib/postfix/sbin"),
    ("data_directory", "/var/lib/postfix"),
    ("default_database_type", "hash"),
    ("default_privs", "nobody"),
    ("default_process_limit", "100"),
    ("default_transport", "smtp"),
    ("disable_vrfy_command", "no"),
    ("double_bounce_sender", "double-bounce"),
    ("empty_address_recipient", "MAILER-DAEMON"),
    ("enable_idna2003_compatibility", "no"),
    ("enable_long_queue_ids", "no"),
    ("fallback_transport", ""),
    ("fallback_transport_maps", ""),
    ("inet_interfaces", "all"),
    ("inet_protocols", "all"),
    ("ipc_timeout", "3600s"),
    ("local_header_rewrite_clients", "permit_inet_interfaces"),
    ("local_login_sender_maps", "static:*"),
    ("local_recipient_maps", "proxy:unix:passwd.byname $alias_maps"),
    ("local_transport", "local:$myhostname"),
    ("luser_relay", ""),
    ("mail_name", "Postfix"),
    ("mail_owner", "postfix"),
    ("mail_spool_directory", "/var/mail"),
    ("mailbox_command", ""),
    ("mailbox_transport", ""),
    ("maillog_file", ""),
    ("max_idle", "100s"),
    ("max_use", "100"),
    ("maximal_queue_lifetime", "5d"),
    ("message_size_limit", "10240000"),
    ("multi_instance_name", ""),
    ("mydestination", "$myhostname, localhost.$mydomain, localhost"),
    ("mynetworks_style", "${{$compatibility_level} <level {2} ? {subnet} : {host}}"),
    ("myorigin", "$myhostname"),
    ("owner_request_special", "yes"),
    (
        "parent_domain_matches_subdomains",
        "debug_peer_list,fast_flush_domains,mynetworks,permit_mx_backup_networks,qmqpd_authorized_clients,relay_domains,smtpd_access_maps",
    ),
    ("permit_mx_backup_networks", ""),
    ("propagate_unmatched_extensions", "canonical, virtual"),
    ("proxy_interfaces", ""),
    ("queue_directory", "/var/spool/postfix"),
    ("rbl_reply_maps", ""),
    ("receive_override_options", ""),
    ("recipient_bcc_maps", ""),
    ("recipient_canonical_classes", "envelope_recipient, header_recipient"),
    ("recipient_canonical_maps", ""),
    ("recipient_delimiter", ""),
    ("reject_code", "554"),
    ("relay_domains", "${{$compatibility_level} <level {2} ? {$mydestination} : {}}"),
    ("relay_recipient_maps", ""),
    ("relay_transport", "relay"),
    ("relayhost", ""),
    ("relocated_maps", ""),
    ("remote_header_rewrite_domain", ""),
    ("resolve_dequoted_address", "yes"),
    ("resolve_null_domain", "no"),
    ("resolve_numeric_domain", "no"),
    ("respectful_logging", "${{$compatibility_level} <level {3.6} ? {no} : {yes}}"),
    ("sender_bcc_maps", ""),
    ("sender_canonical_classes", "envelope_sender, header_sender"),
    ("sender_canonical_maps", ""),
    ("sender_dependent_default_transport_maps", ""),
    ("sender_dependent_relayhost_maps", ""),
    ("show_user_unknown_table_name", "yes"),
    ("smtpd_authorized_xclient_hosts", ""),
    ("smtpd_authorized_xforward_hosts", ""),
    ("smtpd_banner", "$myhostname ESMTP $mail_name"),
    ("smtpd_client_restrictions", ""),
    ("smtpd_data_restrictions", ""),
    ("smtpd_delay_reject", "yes"),
    ("smtpd_end_of_data_restrictions", ""),
    ("smtpd_etrn_restrictions", ""),
    ("smtpd_helo_required", "no"),
    ("smtpd_helo_restrictions", ""),
    ("smtpd_milters", ""),
    ("smtpd_null_access_lookup_key", "<>"),
    ("smtpd_peername_lookup", "yes"),
    ("smtpd_policy_service_default_action", "451 4.3.5 Server configuration problem"),
    ("smtpd_policy_service_max_idle", "300s"),
    ("smtpd_policy_service_max_ttl", "1000s"),
    ("smtpd_policy_service_policy_context", ""),
    ("smtpd_policy_service_request_limit", "0"),
    ("smtpd_policy_service_retry_delay", "1s"),
    ("smtpd_policy_service_timeout", "100s"),
    ("smtpd_policy_service_try_limit", "2"),
    ("smtpd_proxy_filter", ""),
    ("smtpd_recipient_limit", "1000"),
    ("smtpd_recipient_restrictions", ""),
    ("smtpd_reject_unlisted_recipient", "yes"),
    ("smtpd_reject_unlisted_sender", "no"),
    ("smtpd_relay_before_recipient_restrictions", "${{$compatibility_level} <level {3.6} ? {no} : {yes}}"),
    (
        "smtpd_relay_restrictions",
        "${{$compatibility_level} <level {1} ? {} : {permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination}}",
    ),
    ("smtpd_restriction_classes", ""),
    ("smtpd_sasl_auth_enable", "no"),
    ("smtpd_sasl_local_domain", ""),
    ("smtpd_sasl_path", "smtpd"),
    ("smtpd_sasl_type", "cyrus"),
    ("smtpd_sender_login_maps", ""),
    ("smtpd_sender_restrictions", ""),
    ("smtpd_timeout", "${stress?{10}:{300}}s"),
    ("smtpd_tls_auth_only", "no"),
    ("smtpd_tls_security_level", ""),
    ("smtputf8_enable", "${{$compatibility_level} <level {1} ? {no} : {yes}}"),
    ("soft_bounce", "no"),
    ("stress", ""),
    ("strict_rfc821_envelopes", "no"),
    ("swap_bangpath", "yes"),
    ("syslog_name", "${multi_instance_name?{$multi_instance_name}:{postfix}}"),
    ("transport_maps", ""),
    ("unknown_local_recipient_reject_code", "550"),
    ("unknown_relay_recipient_reject_code", "550"),
    ("unknown_virtual_alias_reject_code", "550"),
    ("unknown_virtual_mailbox_reject_code", "550"),
    ("virtual_alias_domains", "$virtual_alias_maps"),
    ("virtual_alias_expansion_limit", "1000"),
    ("virtual_alias_maps", "$virtual_maps"),
    ("virtual_gid_maps", ""),
    ("virtual_mailbox_base", ""),
    ("virtual_mailbox_domains", "$virtual_mailbox_maps"),
    ("virtual_mailbox_limit", "51200000"),
    ("virtual_mailbox_maps", ""),
    ("virtual_transport", "virtual"),
    ("virtual_uid_maps", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_has_no_name_twice() {
        assert!(DEFAULTS.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn a_parameter_that_is_not_listed_has_no_default() {
        assert_eq!(default_of("mydestination"), Some("$myhostname, localhost.$mydomain, localhost"));
        assert_eq!(default_of("virtual_maps"), None);
    }
}

//! What the modules promise, sentence by sentence, and the test that fails when the sentence is broken.
//!
//! Here it is looked after that each of them is there: a test that is renamed or removed takes its sentence
//! along, or this fails.

#![allow(clippy::unwrap_used)] // a test may be blunt

use std::collections::HashMap;
use std::path::Path;

/// Sentence, file, test.
type Sentence = (&'static str, &'static str, &'static str);

const ALL_MODULES: &[Sentence] = &[
    (
        "authenticated: sasl_username is present and not empty",
        "tests/refusals.rs",
        "every_refusal_carries_a_text_and_writes_one_line_that_names_what_was_compared",
    ),
    (
        "could not ask is never treated as no",
        "modules/bwl/decide_tests.rs",
        "could_not_ask_is_no_answer_where_the_outcome_depends_on_it_and_no_matter_elsewhere",
    ),
    (
        "could not ask goes to on_failure",
        "tests/supervision.rs",
        "what_could_not_be_asked_is_counted_as_unavailable_and_answered_by_on_failure",
    ),
    (
        "addresses, domains and SASL users compare without regard to case, domains in A-label form",
        "libvalvula/src/address/key/tests.rs",
        "addresses_compare_without_regard_to_case_and_with_domains_in_a_label_form",
    ),
    (
        "8-bit local parts are ordinary values",
        "libvalvula/src/address/key/tests.rs",
        "bytes_that_are_no_utf8_compare_by_their_ascii_letters",
    ),
    (
        "nothing else is rewritten",
        "libvalvula/src/address/rule/tests.rs",
        "odd_but_ordinary_values_are_taken_literally",
    ),
    (
        "the first module with an opinion wins, after the last: DUNNO",
        "actors/src/runtime/tests.rs",
        "the_first_module_with_an_opinion_wins_and_all_are_counted",
    ),
    (
        "a refusal carries a text that shows no configuration, and writes one line that names module, rule or limit, and the values",
        "tests/refusals.rs",
        "every_refusal_carries_a_text_and_writes_one_line_that_names_what_was_compared",
    ),
    ("odd values are ordinary in every module on every database", "tests/odd_values.rs", "odd_values_are_ordinary"),
    ("explain changes nothing", "tests/explain.rs", "explain_changes_no_counter_no_instance_memory_and_no_statistics"),
    (
        "an existing database works as it is, with its rows kept",
        "tests/take_over.rs",
        "ten_thousand_rows_of_every_kind_are_taken_over_and_decide_as_before",
    ),
];

const ADDRESS_RULES: &[Sentence] = &[
    (
        "each form of a rule matches what the table says",
        "libvalvula/src/address/rule/tests.rs",
        "each_form_matches_what_the_table_of_forms_says",
    ),
    (
        "what is too broad matches nothing and is logged with the row's id",
        "modules/bwl/decide_tests.rs",
        "a_row_at_fault_is_passed_over_and_says_why",
    ),
    ("... once", "actors/src/watch/tests.rs", "a_row_that_can_not_be_used_is_passed_over_and_reported_once"),
    (
        "the domain of an address is what follows its last @",
        "libvalvula/src/address/key/tests.rs",
        "the_domain_follows_the_last_at",
    ),
    (
        "an empty sender matches only the empty rule",
        "modules/bwl/decide_tests.rs",
        "an_empty_sender_matches_only_the_empty_rule",
    ),
];

const BWL: &[Sentence] = &[
    (
        "1: an active row of bwl_global_sasl names the SASL user: REJECT, before all else",
        "modules/bwl/decide_tests.rs",
        "an_active_row_that_names_the_sasl_user_rejects_before_all_else",
    ),
    (
        "only active rows hold, in every table",
        "modules/bwl/decide_tests.rs",
        "a_row_that_is_not_active_does_not_hold_in_any_table",
    ),
    (
        "2: source is held against the sender, destination against the recipient",
        "modules/bwl/decide_tests.rs",
        "source_is_held_against_the_sender_and_destination_against_the_recipient_as_address_rules",
    ),
    (
        "specific before general, inside each group by ascending id",
        "modules/bwl/decide_tests.rs",
        "specific_rows_are_tried_before_general_ones_and_inside_each_group_by_ascending_id",
    ),
    (
        "sasl_users_to_skip passes a row over",
        "modules/bwl/decide_tests.rs",
        "a_row_is_passed_over_when_the_sasl_user_is_in_sasl_users_to_skip",
    ),
    (
        "limit_rule_to_sasl_users passes a row over for all others",
        "modules/bwl/decide_tests.rs",
        "a_row_limited_to_sasl_users_is_passed_over_for_everybody_else",
    ),
    (
        "a list is split at , ; blank, tab or newline",
        "modules/columns.rs",
        "a_list_is_split_at_comma_semicolon_blank_tab_or_newline",
    ),
    (
        "a row with both columns empty matches every request",
        "modules/bwl/decide_tests.rs",
        "a_row_with_both_columns_empty_matches_every_request",
    ),
    (
        "3: only for a local delivery, bwl_domain rows, then bwl_account rows",
        "modules/bwl/decide_tests.rs",
        "rows_of_the_recipients_domain_and_then_of_the_recipient_hold_for_a_local_delivery",
    ),
    (
        "an empty source means every sender; specific before general",
        "modules/bwl/decide_tests.rs",
        "in_the_tables_of_recipients_an_empty_source_means_every_sender_and_specific_comes_before_general",
    ),
    ("the first that decides ends it", "modules/bwl/decide_tests.rs", "global_rows_decide_before_those_of_recipients"),
    (
        "4: a forged local sender, unless switched off, authenticated or not delivered here",
        "modules/bwl/decide_tests.rs",
        "a_forged_local_sender_is_refused",
    ),
    (
        "status without regard to case, and its answer",
        "modules/bwl/decide_tests.rs",
        "a_status_is_read_without_regard_to_case_and_gives_its_answer",
    ),
    (
        "OK never makes an open relay: the row is passed over",
        "modules/bwl/decide_tests.rs",
        "ok_holds_only_for_a_local_delivery_or_an_authenticated_client_and_else_the_row_is_passed_over",
    ),
    ("... with a warning that names it", "tests/postfix_bwl.rs", "an_ok_row_never_makes_an_open_relay"),
    (
        "another status: passed over, with the row's id",
        "modules/bwl/decide_tests.rs",
        "a_row_at_fault_is_passed_over_and_says_why",
    ),
    ("rows with NULLs, on every database", "modules/bwl/database_tests.rs", "rows_written_with_plain_sql_decide"),
    (
        "a row ends at its second",
        "modules/bwl/decide_tests.rs",
        "from_the_second_in_which_it_expires_a_row_is_as_if_it_were_not_there_in_any_table",
    ),
];

const SLM: &[Sentence] = &[
    ("for authenticated requests only", "modules/slm/tests.rs", "only_authenticated_requests_are_looked_at"),
    (
        "1: an active exception with this mail_from, or with none",
        "modules/slm/tests.rs",
        "an_active_exception_for_the_user_with_this_sender_or_with_none_is_no_opinion",
    ),
    (
        "2: an empty sender is allowed, or refused in every mode",
        "modules/slm/tests.rs",
        "an_empty_sender_is_no_opinion_when_allowed_and_refused_in_every_mode_when_not",
    ),
    (
        "3: the recipient is a local address: no opinion",
        "modules/slm/tests.rs",
        "a_recipient_who_is_a_local_address_is_no_opinion",
    ),
    (
        "4: what each mode compares; no @ is no domain; an extension is stripped",
        "modules/slm/tests.rs",
        "each_mode_compares_what_it_says",
    ),
    (
        "the extension is recipient_delimiter's",
        "modules/slm/tests.rs",
        "without_a_recipient_delimiter_nothing_is_stripped",
    ),
    (
        "allow_login_maps, off by default",
        "modules/slm/tests.rs",
        "login_maps_accept_an_owned_sender_only_when_switched_on",
    ),
];

const COUNTING: &[Sentence] = &[
    (
        "RCPT is worth 1, DATA and END-OF-MESSAGE recipient_count; other stages nothing",
        "modules/mquota/tests.rs",
        "one_message_is_charged_once_for_each_recipient_accepted",
    ),
    (
        "a second request at RCPT for the same instance and recipient is charged nothing",
        "actors/src/counting/instance_tests.rs",
        "a_second_request_at_rcpt_for_the_same_instance_and_recipient_is_charged_nothing",
    ),
    (
        "at DATA/END-OF-MESSAGE the charge is set to recipient_count, what was charged for refused recipients is given back",
        "actors/src/counting/instance_tests.rs",
        "at_data_and_end_of_message_the_charge_is_set_to_recipient_count",
    ),
    (
        "without instance every request is charged what it is worth",
        "actors/src/counting/instance_tests.rs",
        "without_instance_every_request_is_charged_what_it_is_worth",
    ),
    (
        "a refused request charges nobody, account and domain move together or not at all",
        "actors/src/counting/book_tests.rs",
        "account_and_domain_move_together_or_not_at_all",
    ),
    (
        "an instance is forgotten after an hour",
        "actors/src/counting/instance_tests.rs",
        "an_instance_is_forgotten_an_hour_after_it_was_last_heard_of",
    ),
    (
        "memory for instances is bounded",
        "actors/src/counting/instance_tests.rs",
        "memory_is_bounded_and_the_message_not_heard_of_for_longest_goes_first",
    ),
    (
        "any interleaving, duplicates and retries: charged = recipients accepted",
        "actors/src/counting/book_tests.rs",
        "what_is_charged_is_the_recipients_accepted",
    ),
    (
        "closed windows are removed by themselves",
        "modules/tests/counting.rs",
        "closed_windows_are_removed_from_the_database",
    ),
];

const MQUOTA: &[Sentence] = &[
    ("timezone, default the machine's", "tests/refusals.rs", "the_time_zone_is_the_machines_when_none_is_given"),
    ("-1 or absent is no limit", "modules/mquota/tests.rs", "minus_1_and_absent_are_no_limit"),
    (
        "if_no_match = first, no-limit, reject",
        "modules/mquota/tests.rs",
        "if_no_match_says_what_holds_when_no_period_covers_the_time",
    ),
    ("from is included, to is not", "modules/mquota/period_tests.rs", "from_is_included_and_to_is_not"),
    ("a period may run over midnight", "modules/mquota/period_tests.rs", "a_period_may_run_over_midnight"),
    ("from = to covers the whole day", "modules/mquota/period_tests.rs", "from_equal_to_to_covers_the_whole_day"),
    (
        "the first in the list that covers the time is taken",
        "modules/mquota/period_tests.rs",
        "the_first_in_the_list_that_covers_the_time_is_taken",
    ),
    (
        "minute and hour are the clock's in that zone",
        "modules/mquota/period_tests.rs",
        "minute_and_hour_are_the_clocks_in_that_zone",
    ),
    (
        "the global window is the run of the period, and starts at zero in each",
        "modules/mquota/tests.rs",
        "windows_open_again_at_the_clocks_minute_hour_and_run",
    ),
    (
        "the clock set forward (Madrid, New York): no window is lost or negative",
        "modules/mquota/period_tests.rs",
        "the_clock_set_forward_loses_no_window_and_makes_none_negative",
    ),
    (
        "the clock set back (Madrid, New York): no window is doubled",
        "modules/mquota/period_tests.rs",
        "the_clock_set_back_doubles_no_window",
    ),
    ("windows follow each other on all four days", "modules/mquota/period_tests.rs", "windows_follow_each_other"),
    ("authenticated requests only", "modules/mquota/tests.rs", "authenticated_requests_only"),
    (
        "an active exception for the user or its domain: no opinion",
        "modules/mquota/tests.rs",
        "an_active_exception_for_the_user_or_for_its_domain_is_no_opinion",
    ),
    (
        "a request passes when every limit has room for the whole count",
        "actors/src/counting/book_tests.rs",
        "a_request_passes_when_every_limit_still_has_room_for_the_whole_count",
    ),
    (
        "... of the domain when the SASL user has one",
        "actors/src/counting/book_tests.rs",
        "a_user_without_domain_is_held_to_its_own_limits_only",
    ),
    (
        "the text says which limit and when it opens again",
        "modules/mquota/tests.rs",
        "the_text_says_which_limit_and_when_it_opens_again",
    ),
    (
        "action = reject, defer, hold, warn",
        "modules/mquota/tests.rs",
        "action_says_what_is_done_with_what_is_over_the_limit",
    ),
    (
        "counters live through a restart of the daemon",
        "modules/mquota/tests.rs",
        "counters_live_through_a_restart_of_the_daemon",
    ),
    (
        "... of the module's actor",
        "tests/refusals.rs",
        "counters_live_through_restarts_of_the_module_and_of_the_store_and_a_reload",
    ),
    ("... and through kill -9", "tests/count_kill.rs", "killed_and_stopped_under_load"),
    (
        "limits changed by a reload apply to what is already counted",
        "modules/mquota/tests.rs",
        "limits_changed_by_a_reload_apply_to_what_is_already_counted",
    ),
];

const TICKET: &[Sentence] = &[
    (
        "sasl_user and domain hold one name or a list split at commas, blanks do not matter",
        "modules/ticket/row_tests.rs",
        "sasl_user_and_domain_hold_one_name_or_a_list_split_at_commas",
    ),
    ("whole names match", "modules/ticket/row_tests.rs", "whole_names_match"),
    (
        "the SASL user's ticket before the sender's domain's",
        "modules/ticket/row_tests.rs",
        "the_sasl_users_ticket_comes_before_the_senders_domains",
    ),
    (
        "a row that is exactly the name before one that lists it, then the lowest id",
        "modules/ticket/row_tests.rs",
        "a_row_that_is_exactly_the_name_comes_before_one_that_lists_it_then_the_lowest_id",
    ),
    ("none: no opinion", "modules/ticket/tests.rs", "no_ticket_is_no_opinion_and_no_transaction"),
    (
        "NULL counters are 0; total, day and month are charged together",
        "modules/ticket/tests.rs",
        "total_day_and_month_are_charged_together_and_null_counters_are_0",
    ),
    (
        "valid_until -1 or NULL: no end; limits <= 0 or NULL: none",
        "modules/ticket/row_tests.rs",
        "limits_of_0_or_less_or_null_are_none_and_so_is_a_valid_until_of_minus_1",
    ),
    ("REJECT in this order", "modules/ticket/tests.rs", "refusals_and_their_order"),
    (
        "a plan that does not exist limits nothing",
        "modules/ticket/tests.rs",
        "limits_of_0_or_less_or_null_and_a_plan_that_does_not_exist_limit_nothing",
    ),
    (
        "has_outgoing_ip and an active outgoing_ip: FILTER transport:",
        "modules/ticket/tests.rs",
        "a_ticket_with_an_active_outgoing_ip_chooses_its_transport",
    ),
    (
        "a message is charged once for each recipient accepted",
        "modules/ticket/tests.rs",
        "a_message_is_charged_once_for_each_recipient_accepted",
    ),
    (
        "a panel's plain SQL is obeyed from the next request on",
        "modules/ticket/tests.rs",
        "a_panels_plain_sql_is_obeyed_from_the_next_request_on",
    ),
    (
        "... and never overwritten by our charge",
        "modules/ticket/tests.rs",
        "a_panels_reset_is_never_overwritten_by_concurrent_charges",
    ),
    (
        "several daemons never sell a ticket twice",
        "tests/count_limit.rs",
        "with_two_daemons_and_a_ticket_on_one_mariadb",
    ),
    (
        "at the change of day history is written, once per database, stamped inside the day, and the counter returns to 0",
        "modules/ticket/tests.rs",
        "at_the_change_of_day_history_is_written_once_and_day_counters_return_to_0",
    ),
    ("the same for the month", "modules/ticket/tests.rs", "at_the_change_of_month_the_month_ends_too"),
    (
        "a daemon that was down over midnight does it at start, by time_tracking",
        "modules/ticket/tests.rs",
        "a_daemon_that_was_down_over_midnight_does_it_at_start",
    ),
    ("in the configured zone", "modules/ticket/day.rs", "a_day_begins_at_midnight_by_the_clock"),
];

const OTHERS: &[Sentence] = &[
    ("test: always DUNNO", "modules/test/mod.rs", "it_has_no_opinion_on_anything"),
    (
        "object-resolver: a domain is local if its status is 0",
        "modules/object_resolver/tests.rs",
        "a_domain_is_local_if_its_status_is_0",
    ),
    (
        "object-resolver: an address is local if its domain's status is 0 and the user exists",
        "modules/object_resolver/tests.rs",
        "an_address_is_local_if_its_domains_status_is_0_and_the_user_exists",
    ),
    (
        "object-resolver: absent or unreadable is one warning and could not ask",
        "modules/object_resolver/tests.rs",
        "an_absent_or_unreadable_database_is_could_not_ask_with_one_warning_and_none_is_made",
    ),
    (
        "object-resolver: opened read-only, ownership and permissions never changed",
        "modules/object_resolver/tests.rs",
        "the_database_is_opened_read_only_and_its_ownership_and_permissions_stay",
    ),
    (
        "object-resolver: the section alone switches it on",
        "tests/object_resolver.rs",
        "plesks_domains_and_users_are_local_from_its_section_alone_until_a_reload_without_it",
    ),
    (
        "lmm: the client must be inside one of allowed_networks, IPv4, IPv6, a single address",
        "modules/lmm/tests.rs",
        "a_domain_with_a_row_is_accepted_from_its_networks_alone",
    ),
    (
        "lmm: for a request that is not authenticated whose sender domain has a row",
        "modules/lmm/tests.rs",
        "an_authenticated_request_or_another_domain_is_no_opinion",
    ),
    ("lmm: only active rows", "modules/lmm/tests.rs", "a_row_that_is_not_active_does_not_hold"),
    ("lmm: an empty list allows nobody", "modules/lmm/tests.rs", "an_empty_list_allows_nobody"),
    (
        "transport: first active row, specific before general, then by id",
        "modules/transport/tests.rs",
        "the_first_active_row_decides_specific_before_general_then_by_id",
    ),
    (
        "transport: source and destination are address rules",
        "modules/transport/tests.rs",
        "source_and_destination_match_as_address_rules",
    ),
    (
        "transport: only_auth not 0 asks for an authenticated client",
        "modules/transport/tests.rs",
        "only_auth_not_0_asks_for_an_authenticated_client",
    ),
    ("transport: without : gets one", "modules/transport/tests.rs", "a_transport_without_a_colon_gets_one"),
    (
        "mw: an absent url is the daemon's own database; placeholders are bound parameters",
        "modules/mw/tests.rs",
        "statements_run_with_the_values_of_the_request",
    ),
    ("mw: each placeholder", "modules/mw/template.rs", "each_placeholder_has_its_value"),
    ("mw: url and listeners", "modules/mw/tests.rs", "a_connection_of_its_own_and_listeners_of_its_own"),
    ("mw: every_hour", "modules/mw/tests.rs", "hourly_statements_run_when_the_hour_changes"),
    (
        "mw: the queue is bounded, what does not fit is counted",
        "modules/mw/tests.rs",
        "a_statement_that_hangs_delays_no_answer_and_what_does_not_fit_the_queue_is_counted",
    ),
    ("mw: a statement that hangs or fails delays and changes no answer", "tests/mw.rs", "a_statement_that_hangs"),
];

/// Faults of the original that must not come back.
const FAULTS: &[Sentence] = &[
    (
        "limit_rule_to_sasl_users ignored",
        "modules/bwl/decide_tests.rs",
        "a_row_limited_to_sasl_users_is_passed_over_for_everybody_else",
    ),
    (
        "is_active ignored in bwl_global_sasl",
        "modules/bwl/decide_tests.rs",
        "a_row_that_is_not_active_does_not_hold_in_any_table",
    ),
    (
        "is_active ignored in mquota_exception",
        "modules/mquota/tests.rs",
        "an_active_exception_for_the_user_or_for_its_domain_is_no_opinion",
    ),
    ("quota counters lost at restart", "modules/mquota/tests.rs", "counters_live_through_a_restart_of_the_daemon"),
    (
        "windows aligned to the daemon's start",
        "modules/mquota/period_tests.rs",
        "minute_and_hour_are_the_clocks_in_that_zone",
    ),
    (
        "domain counter ignores the recipient count",
        "actors/src/counting/book_tests.rs",
        "account_and_domain_move_together_or_not_at_all",
    ),
    (
        "duplicate suppression that counts the third time",
        "actors/src/counting/instance_tests.rs",
        "a_second_request_at_rcpt_for_the_same_instance_and_recipient_is_charged_nothing",
    ),
    (
        "a charge made although the domain limit then refused",
        "modules/mquota/tests.rs",
        "a_request_passes_when_every_limit_has_room_for_the_whole_count",
    ),
    ("ticket found by substring", "modules/ticket/row_tests.rs", "whole_names_match"),
    ("permanent REJECT because the database was down", "tests/count_outage.rs", "away_for_ten_seconds_under_load"),
    (
        "defer_is_reject for DEFER_IF_REJECT, six verdicts without a reply",
        "libvalvula/src/verdict/tests.rs",
        "each_verdict_is_written_exactly_so",
    ),
    ("SQL pasted from request values", "tests/odd_values.rs", "odd_values_are_ordinary"),
    ("one new database connection per query", "tests/refusals.rs", "requests_share_the_databases_connections"),
    ("no answer after a half-close", "tests/malformed.rs", "a_half_close_after_a_full_request_still_gets_the_answer"),
    (
        "an end of file handled as a request, a request without its blank line charged",
        "tests/malformed.rs",
        "a_request_that_ends_in_the_middle_is_never_decided",
    ),
    ("two requests in one packet crash it", "tests/malformed.rs", "a_hundred_requests_at_once_are_answered_in_order"),
    ("SIGHUP twice kills it", "tests/reload.rs", "twice_in_a_row_is_no_trouble"),
    (
        "what a killed one left behind keeps it from starting",
        "tests/shutdown.rs",
        "it_starts_again_where_it_was_stopped_and_where_it_was_killed",
    ),
    (
        "unknown module, bad port or bad mode accepted without a word",
        "tests/config_errors.rs",
        "each_fault_names_file_key_and_what_was_expected",
    ),
    (
        "requests answered DUNNO while modules were still loading",
        "tests/databases.rs",
        "a_server_that_does_not_come_ends_the_start_with_69_after_start_timeout",
    ),
];

#[test]
fn every_sentence_has_its_test() {
    let mut texts = HashMap::new();
    let mut lacking = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for part in [ALL_MODULES, ADDRESS_RULES, BWL, SLM, COUNTING, MQUOTA, TICKET, OTHERS, FAULTS] {
        for (sentence, file, test) in part {
            let text =
                texts.entry(*file).or_insert_with(|| std::fs::read_to_string(root.join(file)).unwrap_or_default());
            if !text.contains(&format!("fn {test}(")) {
                lacking.push(format!("{sentence}: no {test} in {file}"));
            }
        }
    }
    assert!(lacking.is_empty(), "{lacking:#?}");
}

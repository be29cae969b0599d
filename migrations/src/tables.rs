//! All tables. Names are the original Valvula's: databases and panels made for it work with ours.

use crate::table::Kind::{Big, Integer, Name, Text};
use crate::table::Table;

pub(crate) const BWL_GLOBAL: Table = Table {
    name: "bwl_global",
    has_id: true,
    columns: &[
        ("is_active", Integer),
        ("source", Name),
        ("destination", Name),
        ("description", Text),
        ("status", Name),
        ("stamp", Big),
        ("who", Name),
        ("sasl_users_to_skip", Text),
        ("limit_rule_to_sasl_users", Text),
        ("expires", Big),
    ],
    optional: &["expires"],
    indexes: &[],
};

pub(crate) const BWL_DOMAIN: Table = Table { name: "bwl_domain", ..RULES_FOR };

pub(crate) const BWL_ACCOUNT: Table = Table { name: "bwl_account", ..RULES_FOR };

const RULES_FOR: Table = Table {
    name: "",
    has_id: true,
    columns: &[
        ("is_active", Integer),
        ("rules_for", Name),
        ("source", Name),
        ("description", Text),
        ("status", Name),
        ("stamp", Big),
        ("who", Name),
        ("expires", Big),
    ],
    optional: &["expires"],
    indexes: &[],
};

pub(crate) const BWL_GLOBAL_SASL: Table = Table {
    name: "bwl_global_sasl",
    has_id: true,
    columns: &[
        ("is_active", Integer),
        ("sasl_user", Name),
        ("description", Text),
        ("stamp", Big),
        ("who", Name),
        ("expires", Big),
    ],
    optional: &["expires"],
    indexes: &[],
};

pub(crate) const SLM_EXCEPTION: Table = Table {
    name: "slm_exception",
    has_id: true,
    columns: &[("is_active", Integer), ("description", Text), ("mail_from", Name), ("sasl_username", Name)],
    optional: &[],
    indexes: &[],
};

pub(crate) const MQUOTA_EXCEPTION: Table = Table {
    name: "mquota_exception",
    has_id: true,
    columns: &[("is_active", Integer), ("sasl_user", Name), ("description", Text)],
    optional: &[],
    indexes: &[],
};

pub(crate) const TICKET_PLAN: Table = Table {
    name: "ticket_plan",
    has_id: true,
    columns: &[("name", Name), ("description", Text), ("total_limit", Big), ("day_limit", Big), ("month_limit", Big)],
    optional: &[],
    indexes: &[],
};

pub(crate) const DOMAIN_TICKET: Table = Table {
    name: "domain_ticket",
    has_id: true,
    columns: &[
        ("domain", Text),
        ("sasl_user", Text),
        ("total_used", Big),
        ("current_day_usage", Big),
        ("current_month_usage", Big),
        ("valid_until", Big),
        ("ticket_plan_id", Integer),
        ("block_ticket", Integer),
        ("has_outgoing_ip", Integer),
        ("outgoing_ip_id", Integer),
    ],
    optional: &[],
    indexes: &[],
};

pub(crate) const DOMAIN_TICKET_HISTORY: Table = Table {
    name: "domain_ticket_history",
    has_id: true,
    columns: &[("domain_ticket_id", Integer), ("stamp", Big), ("day_usage", Big)],
    optional: &[],
    indexes: &["domain_ticket_id"],
};

pub(crate) const DOMAIN_MONTH_TICKET_HISTORY: Table = Table {
    name: "domain_month_ticket_history",
    has_id: true,
    columns: &[("domain_ticket_id", Integer), ("stamp", Big), ("month_usage", Big)],
    optional: &[],
    indexes: &["domain_ticket_id"],
};

pub(crate) const OUTGOING_IP: Table = Table {
    name: "outgoing_ip",
    has_id: true,
    columns: &[
        ("is_active", Integer),
        ("outgoing_ip", Name),
        ("transport", Name),
        ("label", Name),
        ("description", Text),
    ],
    optional: &[],
    indexes: &[],
};

pub(crate) const TIME_TRACKING: Table = Table {
    name: "time_tracking",
    has_id: false,
    columns: &[("day", Integer), ("month", Integer)],
    optional: &[],
    indexes: &[],
};

pub(crate) const LMM_BY_DOMAIN: Table = Table {
    name: "lmm_by_domain",
    has_id: true,
    columns: &[("is_active", Integer), ("domain", Name), ("allowed_networks", Text), ("description", Text)],
    optional: &[],
    indexes: &[],
};

pub(crate) const TRANSPORT_GLOBAL: Table = Table {
    name: "transport_global",
    has_id: true,
    columns: &[
        ("is_active", Integer),
        ("only_auth", Integer),
        ("source", Name),
        ("destination", Name),
        ("description", Text),
        ("transport", Name),
    ],
    optional: &[],
    indexes: &[],
};

/// Those that an older Valvula may have made.
pub(crate) const ALL: &[&Table] = &[
    &BWL_GLOBAL,
    &BWL_DOMAIN,
    &BWL_ACCOUNT,
    &BWL_GLOBAL_SASL,
    &SLM_EXCEPTION,
    &MQUOTA_EXCEPTION,
    &TICKET_PLAN,
    &DOMAIN_TICKET,
    &DOMAIN_TICKET_HISTORY,
    &DOMAIN_MONTH_TICKET_HISTORY,
    &OUTGOING_IP,
    &TIME_TRACKING,
    &LMM_BY_DOMAIN,
    &TRANSPORT_GLOBAL,
];

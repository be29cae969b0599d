use super::*;

fn ticket(id: i64, sasl_user: &str, domain: &str) -> Ticket {
    Ticket { id, sasl_user: sasl_user.into(), domain: domain.into(), ..Ticket::default() }
}

fn wanted(user: &str, domain: &str) -> Wanted {
    Wanted { user: user_key(user), domain: domain_name_key(domain) }
}

fn holding(tickets: &[Ticket], user: &str, domain: &str) -> Option<i64> {
    Ticket::holding(tickets.to_vec().iter_mut(), &wanted(user, domain)).map(|ticket| ticket.id)
}

#[test]
fn sasl_user_and_domain_hold_one_name_or_a_list_split_at_commas() {
    let tickets = [ticket(1, "ann@x.com, ben@x.com ,carl@x.com", ""), ticket(2, "", "y.com , z.com")];
    for user in ["ann@x.com", "ben@x.com", "carl@x.com", "BEN@X.COM"] {
        assert_eq!(holding(&tickets, user, ""), Some(1), "{user}");
    }
    for domain in ["y.com", "Z.com"] {
        assert_eq!(holding(&tickets, "", domain), Some(2), "{domain}");
    }
}

#[test]
fn whole_names_match() {
    let tickets = [ticket(1, "joann@x.com", ""), ticket(2, "", "notx.com,x.com.org")];
    assert_eq!(holding(&tickets, "ann@x.com", "x.com"), None);
    assert_eq!(holding(&tickets, "joann@x.com", ""), Some(1));
}

#[test]
fn the_sasl_users_ticket_comes_before_the_senders_domains() {
    let tickets = [ticket(1, "", "x.com"), ticket(2, "a,ann@x.com", "")];
    assert_eq!(holding(&tickets, "ann@x.com", "x.com"), Some(2));
    assert_eq!(holding(&tickets, "ben@x.com", "x.com"), Some(1));
}

#[test]
fn a_row_that_is_exactly_the_name_comes_before_one_that_lists_it_then_the_lowest_id() {
    let tickets = [
        ticket(5, "ann@x.com,ben@x.com", ""),
        ticket(9, " ann@x.com ", ""),
        ticket(7, "ann@x.com", ""),
        ticket(3, "ann@x.com,carl@x.com", ""),
    ];
    assert_eq!(holding(&tickets, "ann@x.com", ""), Some(7));
    assert_eq!(holding(&tickets[..1], "ann@x.com", ""), Some(5));
    assert_eq!(holding(&[tickets[0].clone(), tickets[3].clone()], "ann@x.com", ""), Some(3));
}

#[test]
fn domains_compare_in_a_label_form() {
    assert_eq!(holding(&[ticket(1, "", "bücher.example")], "", "xn--bcher-kva.example"), Some(1));
}

#[test]
fn a_row_without_names_holds_for_nobody() {
    assert_eq!(holding(&[ticket(1, "", ""), ticket(2, " , ", ",")], "", ""), None);
}

#[test]
fn reasons_to_refuse_stand_in_order() {
    let mut ticket = Ticket {
        valid_until: Some(99),
        is_blocked: true,
        limits: [Some(10), Some(10), Some(10)],
        used: [10, 10, 10],
        ..Ticket::default()
    };
    assert_eq!(ticket.refusal(100, 1), Some(Refusal::Expired(99)));
    ticket.valid_until = Some(100);
    assert_eq!(ticket.refusal(100, 1), Some(Refusal::Blocked));
    ticket.is_blocked = false;
    for which in 0..3 {
        assert_eq!(ticket.refusal(100, 1), Some(Refusal::Full { which, limit: 10, used: 10, count: 1 }));
        ticket.used[which] = 9;
    }
    assert_eq!(ticket.refusal(100, 1), None);
    assert!(matches!(ticket.refusal(100, 2), Some(Refusal::Full { which: 0, .. })), "9 + 2 > 10");
}

#[test]
fn limits_of_0_or_less_or_null_are_none_and_so_is_a_valid_until_of_minus_1() {
    assert_eq!([None, Some(-1), Some(0), Some(5)].map(limit), [None, None, None, Some(5)]);
    assert_eq!([None, Some(-1), Some(0), Some(5)].map(valid_until), [None, None, Some(0), Some(5)]);
}

//! Who may do what: one table, and the only way to a [`Permitted`].
//!
//! Every change and every answer about accounts takes a [`Permitted`], so none can be had without asking the table.
//! What may be impersonated stands in the policy file alone: no right here grants it.

use crate::identity::{AccountId, Admin, Role};

/// Something that an admin may be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Right {
    /// See accounts and the state of their keys.
    ReadAccounts,
    /// Make an account.
    CreateAccount,
    /// Rename, describe, disable and enable an account.
    ChangeAccount,
    /// Delete an account and its keys.
    DeleteAccount,
    /// See keys; never a secret.
    ReadKeys,
    /// Make a key.
    CreateKey,
    /// Rename, disable, enable a key, change its expiry and sources.
    ChangeKey,
    /// Give a key a new secret.
    RotateKey,
    /// Delete a key.
    DeleteKey,
    /// See what is shared with an account.
    ReadShares,
    /// Read the audit log.
    ReadAudit,
    /// See what is used and what is not.
    ReadUsage,
    /// Ask what would be decided, and why.
    Explain,
    /// Read the policy's source and what is wrong with the last edit.
    ReadPolicy,
    /// See what another policy would have changed.
    Simulate,
    /// See who the admins are.
    ReadAdmins,
}

/// How far a right of a role reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Not at all.
    Nothing,
    /// To the accounts that the admin was named for.
    NamedAccounts,
    /// To everything.
    Everything,
}

/// What a right is wanted for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scope<'a> {
    /// One account and what belongs to it.
    Account(&'a AccountId),
    /// Whatever the admin may see of it.
    Visible,
    /// All of it.
    Whole,
}

/// Leave to do it. The table alone makes one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Permitted<'a> {
    admin: &'a Admin,
    reach: Reach,
}

/// The role does not reach that far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the role {role} may not {what}{}", if *named { " for accounts that it was not named for" } else { "" }, what = right.words())]
pub(super) struct Forbidden {
    role: Role,
    right: Right,
    named: bool,
}

// ===== the table =====

impl Right {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 16] = [
        Self::ReadAccounts,
        Self::CreateAccount,
        Self::ChangeAccount,
        Self::DeleteAccount,
        Self::ReadKeys,
        Self::CreateKey,
        Self::ChangeKey,
        Self::RotateKey,
        Self::DeleteKey,
        Self::ReadShares,
        Self::ReadAudit,
        Self::ReadUsage,
        Self::Explain,
        Self::ReadPolicy,
        Self::Simulate,
        Self::ReadAdmins,
    ];

    /// How far it reaches for `role`.
    #[must_use]
    pub const fn reach(self, role: Role) -> Reach {
        use Reach::{Everything as E, NamedAccounts as N, Nothing as O};
        #[rustfmt::skip]
        let [super_admin, iam_admin, account_admin, auditor] = match self {
            //                     super iam account auditor
            Self::ReadAccounts  => [E, E, N, E],
            Self::CreateAccount => [E, E, O, O],
            Self::ChangeAccount => [E, E, O, O],
            Self::DeleteAccount => [E, E, O, O],
            Self::ReadKeys      => [E, E, N, E],
            Self::CreateKey     => [E, E, N, O],
            Self::ChangeKey     => [E, E, N, O],
            Self::RotateKey     => [E, E, N, O],
            Self::DeleteKey     => [E, E, N, O],
            Self::ReadShares    => [E, E, N, E],
            Self::ReadAudit     => [E, E, N, E],
            Self::ReadUsage     => [E, E, N, E],
            Self::Explain       => [E, E, N, E],
            Self::ReadPolicy    => [E, O, O, E],
            Self::Simulate      => [E, O, O, E],
            Self::ReadAdmins    => [E, E, O, E],
        };
        match role {
            Role::SuperAdmin => super_admin,
            Role::IamAdmin => iam_admin,
            Role::AccountAdmin => account_admin,
            Role::Auditor => auditor,
        }
    }

    /// What it is, after "may not".
    const fn words(self) -> &'static str {
        match self {
            Self::ReadAccounts => "see accounts",
            Self::CreateAccount => "create accounts",
            Self::ChangeAccount => "change accounts",
            Self::DeleteAccount => "delete accounts",
            Self::ReadKeys => "see access keys",
            Self::CreateKey => "create access keys",
            Self::ChangeKey => "change access keys",
            Self::RotateKey => "rotate access keys",
            Self::DeleteKey => "delete access keys",
            Self::ReadShares => "see what is shared",
            Self::ReadAudit => "read the audit log",
            Self::ReadUsage => "see what is used",
            Self::Explain => "ask what would be decided",
            Self::ReadPolicy => "read the policy",
            Self::Simulate => "try another policy",
            Self::ReadAdmins => "see who the admins are",
        }
    }
}

/// Asks the table.
///
/// # Errors
/// When the admin's role does not have the right, or not there.
pub(super) fn permit<'a>(admin: &'a Admin, right: Right, scope: Scope<'_>) -> Result<Permitted<'a>, Forbidden> {
    let reach = right.reach(admin.role);
    let (granted, named) = match (reach, scope) {
        (Reach::Everything, _) | (Reach::NamedAccounts, Scope::Visible) => (true, false),
        (Reach::NamedAccounts, Scope::Account(account)) => (admin.accounts.contains(account), true),
        (Reach::NamedAccounts, Scope::Whole) => (false, true),
        (Reach::Nothing, _) => (false, false),
    };
    if granted { Ok(Permitted { admin, reach }) } else { Err(Forbidden { role: admin.role, right, named }) }
}

/// Whether the table would grant it; for showing what can be done.
pub(super) fn may(admin: &Admin, right: Right, scope: Scope<'_>) -> bool {
    permit(admin, right, scope).is_ok()
}

// ===== impl Permitted =====

impl<'a> Permitted<'a> {
    /// Whether it extends to `account`.
    pub(super) fn covers(&self, account: &AccountId) -> bool {
        match self.reach {
            Reach::Everything => true,
            Reach::NamedAccounts => self.admin.accounts.contains(account),
            Reach::Nothing => false,
        }
    }

    /// The accounts it is bound to; `None` when to none in particular.
    pub(super) fn only(&self) -> Option<&'a [AccountId]> {
        match self.reach {
            Reach::Everything => None,
            Reach::NamedAccounts | Reach::Nothing => Some(&self.admin.accounts),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admin(role: Role, accounts: &[&str]) -> Admin {
        Admin {
            id: "zoe".parse().unwrap(),
            name: "Zoe".to_owned(),
            role,
            accounts: accounts.iter().map(|id| id.parse().unwrap()).collect(),
            hash: crate::identity::SecretHash::of_nothing(),
            created: jiff::Timestamp::UNIX_EPOCH,
            expires: None,
        }
    }

    const READS: [Right; 9] = [
        Right::ReadAccounts,
        Right::ReadKeys,
        Right::ReadShares,
        Right::ReadAudit,
        Right::ReadUsage,
        Right::Explain,
        Right::ReadPolicy,
        Right::Simulate,
        Right::ReadAdmins,
    ];

    #[test]
    fn a_super_admin_may_do_everything_and_an_auditor_reads_everything() {
        let (mighty, auditor) = (admin(Role::SuperAdmin, &[]), admin(Role::Auditor, &[]));
        for right in Right::ALL {
            assert!(may(&mighty, right, Scope::Whole), "{right:?}");
            assert_eq!(may(&auditor, right, Scope::Whole), READS.contains(&right), "{right:?}");
        }
    }

    #[test]
    fn an_account_admin_is_bound_to_the_accounts_it_was_named_for() {
        let bound = admin(Role::AccountAdmin, &["a", "b"]);
        let (own, other) = ("b".parse().unwrap(), "c".parse().unwrap());
        for right in Right::ALL {
            assert!(!may(&bound, right, Scope::Whole), "{right:?}");
            assert!(!may(&bound, right, Scope::Account(&other)), "{right:?}");
            if let Ok(permitted) = permit(&bound, right, Scope::Account(&own)) {
                assert!(permitted.covers(&own) && !permitted.covers(&other) && permitted.only().is_some(), "{right:?}");
            }
        }
        assert!(may(&bound, Right::RotateKey, Scope::Account(&own)) && !may(&bound, Right::ChangeAccount, Scope::Account(&own)));
    }

    #[test]
    fn an_account_admin_without_accounts_sees_none() {
        let nobody = admin(Role::AccountAdmin, &[]);
        let seen = permit(&nobody, Right::ReadAccounts, Scope::Visible).unwrap();
        assert_eq!(seen.only(), Some(&[][..]));
    }

    /// The README says the same in fewer rows.
    #[test]
    fn the_table_in_the_readme_is_this_one() {
        let readme = include_str!("../../README.md");
        let rows = |label: &str| -> &[Right] {
            match label {
                "see accounts, keys, shares, audit, usage; explain" => {
                    &[Right::ReadAccounts, Right::ReadKeys, Right::ReadShares, Right::ReadAudit, Right::ReadUsage, Right::Explain]
                }
                "make, change, delete accounts" => &[Right::CreateAccount, Right::ChangeAccount, Right::DeleteAccount],
                "make, change, rotate, delete keys" => &[Right::CreateKey, Right::ChangeKey, Right::RotateKey, Right::DeleteKey],
                "see the policy, simulate an edit" => &[Right::ReadPolicy, Right::Simulate],
                "see which admins an account has" => &[Right::ReadAdmins],
                other => panic!("{other:?} is no row that this test knows"),
            }
        };
        let mut lines = readme.lines().skip_while(|line| *line != "| | super-admin | iam-admin | account-admin | auditor |").skip(2);
        let mut told = Vec::new();
        for line in lines.by_ref().take_while(|line| line.starts_with('|')) {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            for right in rows(cells[0]) {
                for (role, cell) in [Role::SuperAdmin, Role::IamAdmin, Role::AccountAdmin, Role::Auditor].into_iter().zip(&cells[1..]) {
                    let reach = match *cell {
                        "all" => Reach::Everything,
                        "named accounts" => Reach::NamedAccounts,
                        "" => Reach::Nothing,
                        other => panic!("{other:?} is no reach"),
                    };
                    assert_eq!(right.reach(role), reach, "{right:?} of {role}");
                }
                told.push(*right);
            }
        }
        assert!(Right::ALL.iter().all(|right| told.contains(right)) && told.len() == Right::ALL.len(), "{told:?}");
    }

    #[test]
    fn a_refusal_says_which_role_may_not_do_what() {
        let bound = admin(Role::AccountAdmin, &["a"]);
        let other = "c".parse().unwrap();
        let refusal = permit(&bound, Right::RotateKey, Scope::Account(&other)).unwrap_err();
        assert_eq!(refusal.to_string(), "the role account-admin may not rotate access keys for accounts that it was not named for");
        let refusal = permit(&bound, Right::ReadPolicy, Scope::Whole).unwrap_err();
        assert_eq!(refusal.to_string(), "the role account-admin may not read the policy");
    }
}

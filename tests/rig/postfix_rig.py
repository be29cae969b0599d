#!/usr/bin/env python3
"""postfix_rig - private, throw-away, loopback-only Postfix instances for tests.

Python 3.8+ standard library only.  Needs root (Postfix' master(8) refuses to
run otherwise), the Debian package "postfix", and the "openssl" command when
TLS is on.

The Rust tests drive it through "serve" (tests/support/src/postfix.rs): it
starts an instance, prints one line of JSON, takes commands from its standard
input, one a line, and ends the instance when that input ends, which happens
however the test ends: returned, panicked or killed.

By hand:   python3 tests/rig/postfix_rig.py --help
"""
import argparse
import base64
import contextlib
import ctypes
import fcntl
import json
import os
import pwd
import random
import shlex
import shutil
import signal
import socket
import socketserver
import stat
import subprocess
import sys
import tempfile
import time

STAGES = ("client", "helo", "sender", "relay", "recipient", "data",
          "end_of_data", "etrn")
SERVICES = ("mx", "submission", "smtps")
DEFAULT_USERS = ("alice:secret", "bob@example.com:secret")
RIG_FILE = "rig.json"


class RigError(Exception):
    pass


# --------------------------------------------------------------------------
# helpers
# --------------------------------------------------------------------------
def can_bind(host, port):
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET,
                           socket.SOCK_STREAM) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((host, port))
        return True
    except OSError:
        return False


def free_port():
    """A port that is free now and stays so: below the range from which the
    kernel takes ports for outgoing connections, and at random, so that two
    runs at once do not choose the same."""
    hosts = ["127.0.0.1"] + (["::1"] if have_ipv6() else [])
    for _ in range(1000):
        port = random.randrange(20000, 32000)
        if all(can_bind(h, port) for h in hosts):
            return port
    raise RigError("no free port between 20000 and 32000")


def have_ipv6():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False


def listening_ports():
    out = set()
    for n in ("tcp", "tcp6"):
        try:
            with open("/proc/net/" + n) as f:
                for line in f.readlines()[1:]:
                    w = line.split()
                    if w[3] == "0A":
                        out.add(int(w[1].rsplit(":", 1)[1], 16))
        except OSError:
            pass
    return out


def pid_alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_for(fn, timeout, what, step=0.02):
    end = time.monotonic() + timeout
    while True:
        v = fn()
        if v:
            return v
        if time.monotonic() > end:
            raise RigError("timed out after %gs waiting for %s" % (timeout, what))
        time.sleep(step)


def run(cmd, env=None, check=True, **kw):
    # Output goes to a file, not a pipe: a daemon that inherits the pipe would
    # keep us waiting for its end of file for ever.
    with tempfile.TemporaryFile() as f:
        p = subprocess.run(cmd, stdin=subprocess.DEVNULL, stdout=f,
                           stderr=subprocess.STDOUT, env=env, timeout=60, **kw)
        f.seek(0)
        out = f.read().decode("utf-8", "replace")
    if check and p.returncode:
        raise RigError("%s: exit %d\n%s" % (" ".join(map(shlex.quote, cmd)),
                                            p.returncode, out))
    return p.returncode, out


# --------------------------------------------------------------------------
# the instance
# --------------------------------------------------------------------------
class Rig:
    """One private Postfix instance below *dir* (created if missing).

    policy     "inet:127.0.0.1:10031", "unix:/abs/path", "unix:private/name"
               (relative to the queue directory) or None
    stages     where check_policy_service goes: subset of STAGES
    stage      {stage: full restriction list}, overrides policy for that stage
    policy_opts   "timeout=2s, default_action=DUNNO", put in the { } form
    policy_context  True: policy_context=<service name> on each service
    mx/submission/smtps   port number, 0 = pick a free one, None = service off
    delivery   "discard", "maildir" or "smtp:HOST:PORT"
    auth       "builtin" or "none"
    master_lines   more master.cf lines, for example a spawn(8) policy service
    settings   {name: value} for main.cf;  service_settings {svc: {name: value}}
    """

    def __init__(self, dir, policy=None, stages=("recipient",), stage=None,
                 policy_opts=None, policy_context=False, mx=0, submission=0,
                 smtps=None, delivery="discard", auth="builtin",
                 users=DEFAULT_USERS, tls=True, delay_reject=True,
                 ipv6=None, peername_lookup=False, xclient=True,
                 domains=None, hostname="mx.rig.test", settings=None,
                 service_settings=None, fast_start=True, postfix="postfix",
                 maxproc=None, master_lines=(), keep=True):
        self.dir = os.path.abspath(dir)
        self.policy, self.stages, self.stage = policy, tuple(stages), dict(stage or {})
        self.policy_opts, self.policy_context = policy_opts, policy_context
        self.want = {"mx": mx, "submission": submission, "smtps": smtps}
        self.delivery, self.auth, self.users = delivery, auth, list(users)
        self.tls, self.delay_reject = tls, delay_reject
        self.ipv6 = have_ipv6() if ipv6 is None else ipv6
        self.peername_lookup, self.xclient = peername_lookup, xclient
        self.domains = domains or "rig.test, example.com, example.org, example.net"
        self.hostname = hostname
        self.settings = dict(settings or {})
        self.service_settings = {k: dict(v) for k, v in (service_settings or {}).items()}
        self.fast_start, self.postfix, self.maxproc = fast_start, postfix, maxproc
        self.master_lines, self.keep = list(master_lines), keep
        self.ports = {}
        self.timings = {}
        for s in list(self.stages) + list(self.stage):
            if s not in STAGES:
                raise RigError("unknown stage %r (know: %s)" % (s, ", ".join(STAGES)))
        if self.auth not in ("builtin", "none"):
            raise RigError("unknown auth %r" % self.auth)
        d = self.dir
        self.etc, self.queue, self.data = d + "/etc", d + "/queue", d + "/data"
        self.logfile, self.mail = d + "/log/mail.log", d + "/mail"
        self.tlsdir, self.authdir = d + "/tls", d + "/auth"

    # -- context manager ---------------------------------------------------
    def __enter__(self):
        try:
            self.create()
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc):
        self.stop()
        if not self.keep:
            shutil.rmtree(self.dir, ignore_errors=True)

    # -- files -------------------------------------------------------------
    def _check_host(self):
        if os.geteuid() != 0:
            raise RigError("must run as root: master(8) needs it to switch to "
                           "the mail_owner account")
        if not shutil.which(self.postfix):
            raise RigError("no %r command; apt-get install postfix" % self.postfix)
        try:
            self.owner = pwd.getpwnam("postfix")
        except KeyError:
            raise RigError("no account 'postfix' (installed by the package)")
        p = os.path.dirname(self.dir)
        while True:                      # the postfix user must get in here
            st = os.stat(p)
            if not st.st_mode & stat.S_IXOTH:
                raise RigError("%s is not searchable (o+x) for the postfix user; "
                               "choose another --dir or chmod it" % p)
            if p == "/":
                break
            p = os.path.dirname(p)
        if len(self.dir) > 70:
            raise RigError("directory name too long for unix sockets (max 70): "
                           + self.dir)

    def _policy_restriction(self, service=None):
        if not self.policy:
            return ""
        opts = []
        if self.policy_opts:
            opts += [o.strip() for o in self.policy_opts.split(",") if o.strip()]
        if service:
            opts.append("policy_context=" + service)
        if opts:
            return "check_policy_service { %s }" % ", ".join([self.policy] + opts)
        return "check_policy_service " + self.policy

    def _restrictions(self, service=None):
        out = {}
        for s in STAGES:
            if s in self.stage:
                v = self.stage[s]
            elif s in self.stages:
                v = self._policy_restriction(service)
            else:
                v = ""
            if s == "relay":
                base = "permit_mynetworks, permit_sasl_authenticated, " \
                       "reject_unauth_destination"
                if service in ("submission", "smtps"):
                    base = "permit_sasl_authenticated, reject"
                v = ", ".join(x for x in (v, base) if x)
            out["smtpd_%s_restrictions" % s] = v
        return out

    def create(self):
        t0 = time.monotonic()
        self._check_host()
        o = self.owner
        os.makedirs(self.dir, exist_ok=True)
        os.chmod(self.dir, 0o755)
        if os.path.exists(os.path.join(self.dir, RIG_FILE)):
            raise RigError("%s already holds an instance (stop it first)" % self.dir)
        for p, m in ((self.etc, 0o755), (self.queue, 0o755), (self.dir + "/log", 0o755)):
            os.makedirs(p, exist_ok=True)
            os.chmod(p, m)
        os.makedirs(self.data, exist_ok=True)
        os.chown(self.data, o.pw_uid, o.pw_gid)
        os.chmod(self.data, 0o700)
        for svc in SERVICES:
            if self.want[svc] is not None:
                self.ports[svc] = int(self.want[svc]) or free_port()
        if self.tls:
            self._make_certs()
        if self.auth != "none":
            os.makedirs(self.authdir, exist_ok=True)
            os.chmod(self.authdir, 0o755)
        self._write_main()
        self._write_master()
        # Postfix re-reads a configuration file until it is about two seconds
        # old (it might still be being written): backdating saves that wait.
        self._backdate()
        if self.fast_start:
            self._make_queue()
        self._write_state()
        self.timings["create_s"] = round(time.monotonic() - t0, 3)
        return self

    def _backdate(self):
        old = time.time() - 60
        for n in os.listdir(self.etc):
            os.utime(os.path.join(self.etc, n), (old, old))

    def _write_state(self):
        st = {"dir": self.dir, "etc": self.etc, "queue": self.queue,
              "log": self.logfile, "ports": self.ports, "auth": self.auth,
              "users": self.users, "policy": self.policy,
              "stages": list(self.stages), "delivery": self.delivery,
              "postfix": self.postfix, "ipv6": self.ipv6, "tls": self.tls,
              "timings": self.timings}
        with open(os.path.join(self.dir, RIG_FILE), "w") as f:
            json.dump(st, f, indent=1)
        with open(os.path.join(self.dir, "rig.env"), "w") as f:
            f.write("MAIL_CONFIG=%s\nRIG_DIR=%s\nRIG_LOG=%s\nRIG_QUEUE=%s\n" % (
                shlex.quote(self.etc), shlex.quote(self.dir),
                shlex.quote(self.logfile), shlex.quote(self.queue)))
            for k, v in self.ports.items():
                f.write("RIG_%s_PORT=%d\n" % (k.upper(), v))

    def _make_certs(self):
        """A CA, a server certificate and a client certificate (EC, fast)."""
        os.makedirs(self.tlsdir, exist_ok=True)
        t = self.tlsdir
        env = dict(os.environ, OPENSSL_CONF=t + "/openssl.cnf")
        with open(t + "/openssl.cnf", "w") as f:
            f.write("[req]\ndistinguished_name=dn\nprompt=no\n[dn]\n"
                    "[ca]\nbasicConstraints=critical,CA:TRUE\n"
                    "[server]\nsubjectAltName=DNS:%s,DNS:localhost,IP:127.0.0.1\n"
                    % self.hostname)
        ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        run(["openssl", "req", "-x509", *ec, "-days", "30", "-extensions", "ca",
             "-subj", "/O=Rig/CN=Rig Test CA", "-keyout", t + "/ca.key",
             "-out", t + "/ca.pem"], env=env)
        for who, subj in (("server", "/CN=" + self.hostname),
                          ("client", "/O=Rig Client, Inc./CN=client.example.com")):
            run(["openssl", "req", "-new", *ec, "-subj", subj, "-keyout",
                 "%s/%s.key" % (t, who), "-out", "%s/%s.csr" % (t, who)], env=env)
            cmd = ["openssl", "x509", "-req", "-in", "%s/%s.csr" % (t, who),
                   "-CA", t + "/ca.pem", "-CAkey", t + "/ca.key",
                   "-CAcreateserial", "-days", "30", "-out", "%s/%s.pem" % (t, who)]
            if who == "server":
                cmd += ["-extfile", t + "/openssl.cnf", "-extensions", "server"]
            run(cmd, env=env)

    def _make_queue(self):
        o = self.owner
        import grp
        drop = grp.getgrnam("postdrop").gr_gid
        for n, uid, gid, mode in (
                [(n, o.pw_uid, 0, 0o700) for n in
                 ("active", "bounce", "corrupt", "defer", "deferred", "flush",
                  "hold", "incoming", "private", "saved", "trace")]
                + [("maildrop", o.pw_uid, drop, 0o730),
                   ("public", o.pw_uid, drop, 0o710), ("pid", 0, 0, 0o755)]):
            p = os.path.join(self.queue, n)
            os.makedirs(p, exist_ok=True)
            os.chown(p, uid, gid)
            os.chmod(p, mode)

    def _write_main(self):
        c = {
            "compatibility_level": "3.6",
            "config_directory": self.etc,
            "queue_directory": self.queue,
            "data_directory": self.data,
            "mail_spool_directory": self.dir + "/spool",
            "maillog_file": self.logfile,
            "maillog_file_prefixes": self.dir + "/log",
            "myhostname": self.hostname,
            "mydomain": self.hostname.split(".", 1)[-1],
            "myorigin": "$mydomain",
            "mydestination": "",
            "mynetworks": "127.0.0.250/32",    # "trusted" source for tests
            "inet_interfaces": "127.0.0.1" + (", ::1" if self.ipv6 else ""),
            "inet_protocols": "all" if self.ipv6 else "ipv4",
            "smtp_dns_support_level": "disabled",
            "smtp_host_lookup": "native",
            "smtpd_peername_lookup": "yes" if self.peername_lookup else "no",
            "alias_maps": "", "alias_database": "",
            "local_recipient_maps": "",
            "biff": "no",
            "append_dot_mydomain": "no",
            "smtpd_banner": "$myhostname ESMTP rig",
            "smtpd_client_event_limit_exceptions": "static:all",
            "smtpd_delay_reject": "yes" if self.delay_reject else "no",
            "smtpd_sasl_auth_enable": "no",
            "smtpd_sasl_security_options": "noanonymous",
            "smtpd_sasl_local_domain": "",
            "smtpd_helo_required": "no",
            "virtual_mailbox_domains": self.domains,
            "local_transport": "discard:local",
            "default_transport": "discard:outbound",
            "relay_transport": "discard:relay",
            "smtp_tls_security_level": "none",
            "lmtp_tls_security_level": "none",
            "queue_run_delay": "10s", "minimal_backoff_time": "10s",
            "maximal_queue_lifetime": "1h", "bounce_queue_lifetime": "1h",
        }
        if self.xclient:
            nets = "127.0.0.0/8" + (", [::1]" if self.ipv6 else "")
            c["smtpd_authorized_xclient_hosts"] = nets
            c["smtpd_authorized_xforward_hosts"] = nets
        if self.tls:
            c.update({
                "smtpd_tls_security_level": "may",
                "smtpd_tls_cert_file": self.tlsdir + "/server.pem",
                "smtpd_tls_key_file": self.tlsdir + "/server.key",
                "smtpd_tls_CAfile": self.tlsdir + "/ca.pem",
                "smtpd_tls_ask_ccert": "yes",
                "smtpd_tls_fingerprint_digest": "sha256",
                "smtpd_tls_received_header": "yes",
                "smtpd_tls_auth_only": "no",
            })
        else:
            c["smtpd_tls_security_level"] = "none"
        if self.auth == "builtin":
            c["smtpd_sasl_type"] = "dovecot"
            c["smtpd_sasl_path"] = "private/auth"
        if self.delivery == "discard":
            c["virtual_transport"] = "discard:mailbox"
            c["virtual_mailbox_maps"] = "static:ok"
        elif self.delivery == "maildir":
            os.makedirs(self.mail, exist_ok=True)
            nb = pwd.getpwnam("nobody")
            os.chown(self.mail, nb.pw_uid, nb.pw_gid)
            c.update({
                "virtual_transport": "virtual",
                "virtual_mailbox_base": self.mail,
                "virtual_mailbox_maps": "texthash:%s/mailboxes, static:catchall/" % self.etc,
                "virtual_minimum_uid": "1",
                "virtual_uid_maps": "static:%d" % nb.pw_uid,
                "virtual_gid_maps": "static:%d" % nb.pw_gid,
            })
            with open(self.etc + "/mailboxes", "w") as f:
                f.write("# address  maildir/   (everything else: catchall/)\n")
        elif self.delivery.startswith("smtp:"):
            host, port = self.delivery[5:].rsplit(":", 1)
            dest = "smtp:[%s]:%s" % (host.strip("[]"), port)
            c.update({"virtual_transport": dest, "default_transport": dest,
                      "relay_transport": dest, "virtual_mailbox_maps": "static:ok"})
        else:
            raise RigError("unknown delivery %r" % self.delivery)
        c.update(self._restrictions())
        c.update(self.settings)
        with open(self.etc + "/main.cf", "w") as f:
            f.write("# written by postfix_rig\n")
            for k, v in c.items():
                f.write("%s = %s\n" % (k, v))

    def _write_master(self):
        L = []

        def opt(k, v):
            L.append("  -o { %s = %s }" % (k, v))

        hosts = ["127.0.0.1"] + (["[::1]"] if self.ipv6 else [])
        for svc, port in self.ports.items():
            for h in hosts:
                L.append("%s:%d inet n - n - %s smtpd" % (
                    h, port, self.maxproc if self.maxproc else "-"))
                # Postfix >= 3.2: makes "rig/mx/smtpd[pid]" style log tags
                opt("syslog_name", "postfix/" + svc)
                if svc != "mx":
                    if self.auth != "none":
                        opt("smtpd_sasl_auth_enable", "yes")
                    if svc == "smtps":
                        opt("smtpd_tls_wrappermode", "yes")
                r = self._restrictions(svc) if self.policy_context else {
                    "smtpd_relay_restrictions": self._restrictions(
                        None if svc == "mx" else svc)["smtpd_relay_restrictions"]}
                for k, v in r.items():
                    if svc != "mx" or self.policy_context:
                        opt(k, v)
                for k, v in self.service_settings.get(svc, {}).items():
                    opt(k, v)
        L += [
            "postlog   unix-dgram n - n - 1 postlogd",
            "pickup    unix n - n 60 1 pickup",
            "cleanup   unix n - n - 0 cleanup",
            "qmgr      unix n - n 300 1 qmgr",
            "tlsmgr    unix - - n 1000? 1 tlsmgr",
            "rewrite   unix - - n - - trivial-rewrite",
            "bounce    unix - - n - 0 bounce",
            "defer     unix - - n - 0 bounce",
            "trace     unix - - n - 0 bounce",
            "verify    unix - - n - 1 verify",
            "flush     unix n - n 1000? 0 flush",
            "proxymap  unix - - n - - proxymap",
            "proxywrite unix - - n - 1 proxymap",
            "smtp      unix - - n - - smtp",
            "relay     unix - - n - - smtp",
            "showq     unix n - n - - showq",
            "error     unix - - n - - error",
            "retry     unix - - n - - error",
            "discard   unix - - n - - discard",
            "virtual   unix - n n - - virtual",
            "lmtp      unix - - n - - lmtp",
            "anvil     unix - - n - 1 anvil",
            "scache    unix - - n - 1 scache",
        ] + self.master_lines
        with open(self.etc + "/master.cf", "w") as f:
            f.write("\n".join(L) + "\n")

    # -- SASL --------------------------------------------------------------
    def _start_auth(self):
        a, o = self.authdir, self.owner
        sock = self.queue + "/private/auth"
        with open(a + "/users", "w") as f:
            for u in self.users:
                name, pw_ = u.split(":", 1)
                f.write("%s:{PLAIN}%s\n" % (name, pw_))
        os.chmod(a + "/users", 0o644)
        os.makedirs(self.queue + "/private", mode=0o700, exist_ok=True)
        os.chown(self.queue + "/private", o.pw_uid, 0)
        p = subprocess.Popen(
            [sys.executable, os.path.realpath(__file__), "auth-server",
             "--socket", sock, "--users", a + "/users"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=open(self.dir + "/log/auth.log", "ab"),
            start_new_session=True)
        with open(a + "/auth.pid", "w") as f:
            f.write("%d\n" % p.pid)
        wait_for(lambda: os.path.exists(sock), 10, "auth socket " + sock)

    def _stop_auth(self):
        pf = self.authdir + "/auth.pid"
        try:
            with open(pf) as f:
                pid = int(f.read().split()[0])
            with open("/proc/%d/cmdline" % pid, "rb") as f:
                cmd = f.read()
        except (OSError, ValueError, IndexError):
            return
        if b"auth-server" not in cmd or self.queue.encode() not in cmd:
            return                           # the pid was reused: not ours
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        with contextlib.suppress(RigError):
            wait_for(lambda: self._gone(pid), 5, "auth server to end")
        with contextlib.suppress(OSError):
            os.unlink(pf)

    @staticmethod
    def _gone(pid):
        with contextlib.suppress(ChildProcessError, OSError):
            os.waitpid(pid, os.WNOHANG)
        return not pid_alive(pid)

    # -- start / stop ------------------------------------------------------
    def env(self):
        e = dict(os.environ, MAIL_CONFIG=self.etc)
        e["PATH"] = os.path.dirname(shutil.which(self.postfix)) + ":/usr/sbin:/sbin:" \
            + e.get("PATH", "/usr/bin:/bin")
        return e

    def tool(self, name):
        return os.path.join(os.path.dirname(shutil.which(self.postfix)), name)

    def start(self):
        t0 = time.monotonic()
        if self.auth != "none":
            self._start_auth()
        t1 = time.monotonic()
        self.timings["auth_start_s"] = round(t1 - t0, 3)
        if self.fast_start:
            dd = run([self.tool("postconf"), "-c", self.etc, "-h", "daemon_directory"],
                     env=self.env())[1].strip()
            # what postfix-script does at the end of "start"
            env = {k: v for k, v in self.env().items() if k in ("PATH", "TZ", "LANG", "MAIL_CONFIG")}
            run([dd + "/master", "-w"], env=env, cwd="/")
        else:
            run([self.postfix, "-c", self.etc, "start"], env=self.env())
        self.timings["postfix_start_s"] = round(time.monotonic() - t1, 3)
        if self.ports:     # by /proc, not by connecting: that would cost one
            want = set(self.ports.values())     # smtpd and maybe a policy request
            try:
                wait_for(lambda: want <= listening_ports(), 15, "ports %s" % sorted(want))
            except RigError as e:
                raise RigError("%s\n%s" % (e, self.log()[-2000:]))
        self.timings["ready_s"] = round(time.monotonic() - t0, 3)
        self._write_state()
        return self

    def master_pid(self):
        """Pid of our running master(8), or None.

        A running master holds a lock on its pid file.  (Looking at
        /proc/PID/cwd instead would need CAP_SYS_PTRACE, which containers
        lack: master and its children are not "dumpable".)
        """
        try:
            with open(self.queue + "/pid/master.pid", "r+") as f:
                try:
                    fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    return int(f.read().split()[0])
        except (OSError, ValueError, IndexError):
            pass
        return None

    def pids(self, pgrp=None):
        """Live processes of this instance: master leads a process group."""
        pgrp = pgrp or self.master_pid()
        out = []
        for n in os.listdir("/proc") if pgrp else ():
            if n.isdigit():
                try:
                    with open("/proc/%s/stat" % n) as f:
                        w = f.read().rsplit(")", 1)[1].split()
                except OSError:
                    continue
                if int(w[2]) == pgrp and w[0] != "Z":
                    out.append(int(n))
        return out

    def stop(self):
        t0 = time.monotonic()
        pid = self.master_pid()
        if pid:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGTERM)   # master passes it to its group
            with contextlib.suppress(RigError):
                wait_for(lambda: self._gone(pid), 10, "master to end")
            end = time.monotonic() + 3
            while self.pids(pid) and time.monotonic() < end:
                with contextlib.suppress(OSError):
                    os.killpg(pid, signal.SIGTERM if time.monotonic() < end - 1
                              else signal.SIGKILL)
                time.sleep(0.02)
        self._stop_auth()
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(self.dir, RIG_FILE))
        self.timings["stop_s"] = round(time.monotonic() - t0, 3)
        left = self.pids(pid) if pid else []
        if left:
            raise RigError("could not end %s (no CAP_KILL?)" % left)

    def reload(self):
        run([self.postfix, "-c", self.etc, "reload"], env=self.env())

    def postconf(self, **kw):
        """Change main.cf settings of the running instance and reload."""
        run([self.tool("postconf"), "-c", self.etc] + ["%s=%s" % kv for kv in kw.items()],
            env=self.env())
        self._backdate()
        self.reload()

    # -- looking -----------------------------------------------------------
    def log(self):
        try:
            with open(self.logfile, errors="surrogateescape") as f:
                return f.read()
        except OSError:
            return ""

    def wait_log(self, text, timeout=10, start=0):
        return wait_for(lambda: (lambda s: s if text in s else None)(self.log()[start:]),
                        timeout, "%r in the mail log" % text)

    def messages(self, box="catchall"):
        d = os.path.join(self.mail, box, "new")
        return sorted(os.path.join(d, n) for n in os.listdir(d)) if os.path.isdir(d) else []

    def command(self, *argv):
        """Run a Postfix command (postqueue, postsuper, ...) on this instance."""
        return run(list(argv), env=self.env())[1]

    @classmethod
    def load(cls, dir):
        p = os.path.join(os.path.abspath(dir), RIG_FILE)
        try:
            with open(p) as f:
                st = json.load(f)
        except OSError:
            raise RigError("%s: no instance here" % dir)
        r = cls(dir, policy=st["policy"], stages=st["stages"], auth=st["auth"],
                delivery=st["delivery"], users=st["users"], postfix=st["postfix"],
                ipv6=st["ipv6"], tls=st["tls"])
        r.ports, r.timings = st["ports"], st["timings"]
        r.owner = pwd.getpwnam("postfix")
        return r


# --------------------------------------------------------------------------
# --auth builtin: enough of the Dovecot auth protocol for PLAIN and LOGIN
# --------------------------------------------------------------------------
class _Auth(socketserver.StreamRequestHandler):
    def handle(self):
        w = self.wfile.write
        w(b"VERSION\t1\t1\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\n"
          b"SPID\t%d\nCUID\t1\nCOOKIE\t0123456789abcdef0123456789abcdef\nDONE\n"
          % os.getpid())
        state = {}

        def verdict(i, user, pw_):
            if self.server.users.get(user) == pw_:
                w(b"OK\t%s\tuser=%s\n" % (i, user))
            else:
                w(b"FAIL\t%s\tuser=%s\n" % (i, user))

        def step(i, mech, data):
            if mech == b"PLAIN":
                parts = data.split(b"\0")
                verdict(i, *(parts[1:3] if len(parts) == 3 else (b"", b"")))
            else:
                st = state.setdefault(i, [mech])
                if data is not None and (data or len(st) > 1):
                    st.append(data)
                if len(st) == 3:
                    verdict(i, st[1], st[2])
                    del state[i]
                else:
                    w(b"CONT\t%s\t%s\n" % (i, base64.b64encode(
                        b"Username:" if len(st) == 1 else b"Password:")))

        for line in self.rfile:
            f = line.rstrip(b"\n").split(b"\t")
            if f[0] == b"AUTH":
                i, mech = f[1], f[2].upper()
                resp = [x[5:] for x in f[3:] if x.startswith(b"resp=")]
                if resp:
                    step(i, mech, base64.b64decode(resp[0]))
                elif mech == b"LOGIN":
                    step(i, mech, None)
                else:
                    state[i] = [mech]
                    w(b"CONT\t%s\t\n" % i)
            elif f[0] == b"CONT":
                step(f[1], state.get(f[1], [b"PLAIN"])[0], base64.b64decode(f[2]))


class _AuthServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def auth_server(sock, users_file):
    with contextlib.suppress(OSError):
        os.unlink(sock)
    srv = _AuthServer(sock, _Auth)
    os.chmod(sock, 0o666)
    srv.users = {}
    with open(users_file, "rb") as f:
        for line in f:
            u, _, p = line.rstrip(b"\n").partition(b":{PLAIN}")
            srv.users[u] = p
    signal.signal(signal.SIGTERM, lambda *a: os._exit(0))
    srv.serve_forever()


# --------------------------------------------------------------------------
# command line
# --------------------------------------------------------------------------
def _port(v):
    return None if v in ("off", "none") else int(v)


def _kv(v):
    k, eq, val = v.partition("=")
    if not eq:
        raise argparse.ArgumentTypeError("want NAME=VALUE, got %r" % v)
    return k.strip(), val.strip()


def _instance_args(p):
    a = p.add_argument
    a("--dir", help="instance directory (start: required; run: default a fresh "
      "temporary one, removed at the end)")
    a("--policy", help="inet:127.0.0.1:PORT | unix:/path | unix:private/name")
    a("--stages", default="recipient", help="comma list of %s [recipient]" % "/".join(STAGES))
    a("--stage", action="append", type=_kv, default=[], metavar="STAGE=RESTRICTIONS",
      help="full restriction list for a stage, overrides --policy there")
    a("--policy-opts", help='e.g. "timeout=2s, default_action=DUNNO"')
    a("--policy-context", action="store_true", help="policy_context=<service>")
    a("--mx", type=_port, default=0, metavar="PORT", help="0 = free port [0], off")
    a("--submission", type=_port, default=0, metavar="PORT", help="[0]")
    a("--smtps", type=_port, default=None, metavar="PORT", help="[off]")
    a("--delivery", default="discard", help="discard | maildir | smtp:HOST:PORT")
    a("--auth", default="builtin", help="builtin | none")
    a("--user", action="append", metavar="NAME:PASSWORD", help="repeat; default "
      + " ".join(DEFAULT_USERS))
    a("--no-tls", dest="tls", action="store_false")
    a("--no-delay-reject", dest="delay_reject", action="store_false")
    a("--no-ipv6", dest="ipv6", action="store_false", default=None)
    a("--peername-lookup", action="store_true", help="client names by DNS//etc/hosts")
    a("--domains", help="domains accepted from anyone; 'static:all' = every domain")
    a("--hostname", default="mx.rig.test")
    a("--set", action="append", type=_kv, default=[], metavar="NAME=VALUE",
      help="main.cf setting (repeat)")
    for s in SERVICES:
        a("--set-" + s, action="append", type=_kv, default=[], metavar="NAME=VALUE",
          help="-o setting of the %s service" % s)
    a("--master-line", action="append", default=[], help='more master.cf, e.g. '
      '"policy unix - n n - 0 spawn user=nobody argv=/some/server"')
    a("--maxproc", help="process limit of the smtpd services")
    a("--checked-start", dest="fast_start", action="store_false",
      help="use 'postfix start' with all its checks (1-3 s) instead of starting "
      "master(8) directly")
    a("--postfix", default="postfix", help="postfix(1) command to use")


def _make(a, dir, keep):
    return Rig(dir, policy=a.policy,
               stages=[s for s in a.stages.split(",") if s], stage=dict(a.stage),
               policy_opts=a.policy_opts, policy_context=a.policy_context,
               mx=a.mx, submission=a.submission, smtps=a.smtps,
               delivery=a.delivery, auth=a.auth, users=a.user or DEFAULT_USERS,
               tls=a.tls, delay_reject=a.delay_reject, ipv6=a.ipv6,
               peername_lookup=a.peername_lookup, domains=a.domains,
               hostname=a.hostname, settings=dict(a.set),
               service_settings={s: dict(getattr(a, "set_" + s)) for s in SERVICES},
               fast_start=a.fast_start, postfix=a.postfix, maxproc=a.maxproc,
               master_lines=a.master_line, keep=keep)


def serve(a):
    """What the Rust tests use: lives exactly as long as its standard input."""
    # Ctrl-C reaches the whole group: the end of our input is what ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Orphans of Postfix become our children, for us to reap: in a container
    # process 1 often does not. (PR_SET_CHILD_SUBREAPER)
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    tmp = None
    if not a.dir:
        tmp = tempfile.mkdtemp(prefix="rig.")
        os.chmod(tmp, 0o755)

    def say(**answer):
        print(json.dumps(answer), flush=True)

    try:
        with _make(a, a.dir or tmp, True) as r:
            with open(os.path.join(r.dir, RIG_FILE)) as f:
                say(ok=json.load(f))
            for line in sys.stdin:
                word, _, rest = line.rstrip("\n").partition(" ")
                try:
                    if word == "postconf":
                        name, _, value = rest.partition("=")
                        r.postconf(**{name.strip(): value.strip()})
                    elif word == "reload":
                        r.reload()
                    elif word == "stop":
                        r.stop()
                    elif word == "start":
                        r._backdate()
                        r.start()
                    else:
                        raise RigError("unknown order %r" % line)
                    say(ok={})
                except RigError as e:
                    say(error=str(e))
    except RigError as e:
        say(error=str(e))
        return 1
    finally:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if tmp:
            shutil.rmtree(tmp, ignore_errors=True)
    return 0


def main(argv=None):
    ap = argparse.ArgumentParser(prog="postfix-rig", description=__doc__.split("\n\n")[0])
    sub = ap.add_subparsers(dest="cmd", required=True)
    p = sub.add_parser("start", help="create and start; prints rig.json")
    _instance_args(p)
    p = sub.add_parser("run", help="start, run a command with RIG_* variables, stop")
    _instance_args(p)
    p.add_argument("command", nargs=argparse.REMAINDER)
    for n, h in (("stop", "stop (idempotent)"), ("status", "running or not"),
                 ("log", "print the mail log"), ("reload", "postfix reload")):
        p = sub.add_parser(n, help=h)
        p.add_argument("--dir", required=True)
        if n == "stop":
            p.add_argument("--rm", action="store_true", help="remove the directory too")
    p = sub.add_parser("serve", help="start, print rig.json on one line, obey standard "
                       "input (postconf NAME=VALUE | reload | stop | start), end with it")
    _instance_args(p)
    p = sub.add_parser("exec", help="run a command with MAIL_CONFIG set")
    p.add_argument("--dir", required=True)
    p.add_argument("command", nargs=argparse.REMAINDER)
    p = sub.add_parser("auth-server", help=argparse.SUPPRESS)
    p.add_argument("--socket")
    p.add_argument("--users")
    a = ap.parse_args(argv)
    try:
        if a.cmd == "auth-server":
            return auth_server(a.socket, a.users)
        if a.cmd == "start":
            if not a.dir:
                ap.error("start needs --dir")
            r = _make(a, a.dir, True).__enter__()
            with open(os.path.join(r.dir, RIG_FILE)) as f:
                print(f.read())
            return 0
        if a.cmd == "serve":
            return serve(a)
        if a.cmd == "run":
            cmd = a.command[1:] if a.command[:1] == ["--"] else a.command
            if not cmd:
                ap.error("run needs -- COMMAND")
            for s in (signal.SIGTERM, signal.SIGHUP):    # so that finally: runs
                signal.signal(s, lambda *x: sys.exit(128 + x[0]))
            tmp = None
            if not a.dir:
                tmp = tempfile.mkdtemp(prefix="rig.")
                os.chmod(tmp, 0o755)
            try:
                with _make(a, a.dir or tmp, True) as r:
                    e = dict(os.environ, MAIL_CONFIG=r.etc, RIG_DIR=r.dir,
                             RIG_LOG=r.logfile, RIG_QUEUE=r.queue)
                    for k, v in r.ports.items():
                        e["RIG_%s_PORT" % k.upper()] = str(v)
                    return subprocess.run(cmd, env=e).returncode
            finally:
                if tmp:
                    shutil.rmtree(tmp, ignore_errors=True)
        if a.cmd == "stop":
            r = Rig(a.dir)
            r.stop()
            if a.rm:
                shutil.rmtree(r.dir, ignore_errors=True)
            return 0
        r = Rig.load(a.dir)
        if a.cmd == "status":
            pid = r.master_pid()
            print("running, master pid %d, ports %s" % (pid, r.ports) if pid else "not running")
            return 0 if pid else 1
        if a.cmd == "log":
            sys.stdout.write(r.log())
        elif a.cmd == "reload":
            r.reload()
        elif a.cmd == "exec":
            cmd = a.command[1:] if a.command[:1] == ["--"] else a.command
            return subprocess.run(cmd, env=r.env()).returncode
        return 0
    except RigError as e:
        print("postfix-rig: %s" % e, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

/** The units under a real systemd, as its first process: what the operator types, and what becomes of it. */
import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { BootedSystemd } from './support/booted-systemd.js';
import { until } from './support/within.js';

const CONFIG = '/var/lib/sallyport/relay.yaml';
const RELAY = 'sallyport-relay.service';
const TUNNEL = 'sallyport-tunnel.service';

/** A machine with a relay that was set up as docs/operations.md says. */
async function relayMachine(t: TestContext): Promise<BootedSystemd | undefined> {
  const systemd = await BootedSystemd.boot(t);
  if (systemd === undefined) return undefined;
  await systemd.shell('relay init --domain relay.localhost --dir /var/lib/sallyport >/run/join');
  await systemd.shell(`relay service install --config ${CONFIG}`);
  return systemd;
}

/** Asks the relay from inside; `%{http_code}` is 000 when nobody answered. */
const ASK =
  'curl --silent --output /dev/null --write-out "%{http_code}\\n" --max-time 20 --cacert /var/lib/sallyport/state/local-ca/ca.pem https://relay.localhost/';

describe('under a real systemd', { concurrency: 2 }, () => {
  test('relay service install starts a relay that is ready, says what it does and takes 443 and 80 from systemd', async (t) => {
    const systemd = await relayMachine(t);
    if (systemd === undefined) return;
    assert.equal(await systemd.property(RELAY, 'ActiveState'), 'active');
    assert.match(await systemd.property(RELAY, 'StatusText'), /^Listening: https \[::\]:443, http \[::\]:80/);
    assert.match(await systemd.shell('relay service status'), /sallyport-relay\.service +active/);
    assert.equal((await systemd.shell(ASK)).trim(), '404');
    const redirect = await systemd.shell('curl --silent --head http://relay.localhost/a');
    assert.match(redirect, /308[\s\S]*Location: https:\/\/relay\.localhost\/a/);
    // Neither root nor a port of its own making: DynamicUser, no capability.
    const pid = await systemd.property(RELAY, 'MainPID');
    const state = await systemd.shell(`cat /proc/${pid}/status`);
    assert.doesNotMatch(state, /^Uid:\s+0\b/m);
    assert.match(state, /^CapBnd:\s+0+$/m);
  });

  test('no visitor is refused while the service restarts, by systemctl and by relay restart', async (t) => {
    const systemd = await relayMachine(t);
    if (systemd === undefined) return;
    // One after the other, as fast as it goes, until the file is there.
    const visits = systemd.shell(`until test -e /run/enough; do ${ASK}; done`);
    const before = await systemd.property(RELAY, 'MainPID');
    await systemd.shell('systemctl restart sallyport-relay');
    const between = await systemd.property(RELAY, 'MainPID');
    const { pid } = JSON.parse(await systemd.shell(`relay restart --json --config ${CONFIG}`));
    await until('new main process', async () =>
      (await systemd.property(RELAY, 'MainPID')) === String(pid) ? true : undefined,
    );
    // The process that systemd started has gone; that is no failure of the service.
    await until('end of the old process', async () =>
      (await systemd.run('test', '-e', `/proc/${between}`)).code === 0 ? undefined : true,
    );
    await systemd.shell('touch /run/enough');
    const codes = (await visits).trim().split('\n');
    assert.deepEqual(
      codes.filter((code) => code !== '404'),
      [],
    );
    assert.ok(codes.length > 5, `${codes.length} visits`);
    assert.equal(new Set([before, between, String(pid)]).size, 3);
    assert.equal(await systemd.property(RELAY, 'ActiveState'), 'active');
    assert.equal(await systemd.property(RELAY, 'NRestarts'), '0');
    t.diagnostic(`${codes.length} visits`);
  });

  test('systemctl reload fails with the reason when relay.yaml is wrong, and the relay goes on', async (t) => {
    const systemd = await relayMachine(t);
    if (systemd === undefined) return;
    const pid = await systemd.property(RELAY, 'MainPID');
    await systemd.shell(`echo 'log: { level: debug }' >>${CONFIG} && systemctl reload sallyport-relay`);
    assert.equal(await systemd.property(RELAY, 'ActiveState'), 'active');
    await systemd.shell(`echo 'nonsense: 1' >>${CONFIG}`);
    assert.notEqual((await systemd.run('systemctl', 'reload', 'sallyport-relay')).code, 0);
    await until('journal', async () => /nonsense/.test(await systemd.shell(`journalctl -u ${RELAY}`)) || undefined);
    assert.equal(await systemd.property(RELAY, 'MainPID'), pid);
    assert.equal((await systemd.shell(ASK)).trim(), '404');
    // A restart would not bring it back, so systemd must not try for ever.
    assert.notEqual((await systemd.run('systemctl', 'restart', 'sallyport-relay')).code, 0);
    assert.equal(await systemd.property(RELAY, 'ExecMainStatus'), '78');
    assert.equal(await systemd.property(RELAY, 'ActiveState'), 'failed');
  });

  test('logs may lie in /var/log/sallyport; a place that the service cannot write to is no configuration', async (t) => {
    const systemd = await relayMachine(t);
    if (systemd === undefined) return;
    const logs =
      'access_log: { to: file, file: /var/log/sallyport/access.log }\naudit_log: { folder: /var/log/sallyport/audit }';
    await systemd.shell(`printf '${logs}\n' >>${CONFIG} && systemctl reload sallyport-relay`);
    const checked = await systemd.shell(`relay check --config ${CONFIG} 2>&1; relay audit verify --config ${CONFIG}`);
    assert.doesNotMatch(checked, /access_log|audit_log/);
    assert.match(await systemd.shell('ls /var/log/sallyport/'), /^access\.log\naudit\n$/);
    await systemd.shell(`sed -i 's|/var/log/sallyport/access|/var/log/elsewhere/access|' ${CONFIG}`);
    assert.notEqual((await systemd.run('systemctl', 'reload', 'sallyport-relay')).code, 0);
    assert.equal(await systemd.property(RELAY, 'ActiveState'), 'active');
  });

  test('a relay that stands still is ended by the watchdog and started again', async (t) => {
    const systemd = await relayMachine(t);
    if (systemd === undefined) return;
    await systemd.shell('mkdir -p /run/systemd/system/sallyport-relay.service.d');
    await systemd.shell(`printf '[Service]\\nWatchdogSec=2\\n' >/run/systemd/system/${RELAY}.d/watchdog.conf`);
    await systemd.shell('systemctl daemon-reload && systemctl restart sallyport-relay');
    const pid = await systemd.property(RELAY, 'MainPID');
    // It lives on longer than the watchdog allows, so it gives signs of life.
    await systemd.shell('sleep 3');
    assert.equal(await systemd.property(RELAY, 'MainPID'), pid);
    await systemd.shell(`kill -STOP ${pid}`);
    await until('restart', async () => ((await systemd.property(RELAY, 'NRestarts')) === '1' ? true : undefined));
    assert.match(await systemd.shell(`journalctl -u ${RELAY} -o cat; systemctl status ${RELAY} || true`), /./);
  });

  test('the token of the client may be a credential, which only root can read and no config file holds', async (t) => {
    const systemd = await relayMachine(t);
    if (systemd === undefined) return;
    const folder = '/var/lib/sallyport-tunnel';
    const made = await systemd.shell(`relay token create box --host own.relay.localhost --json --config ${CONFIG}`);
    const { token } = JSON.parse(made);
    await systemd.shell('mkdir -p -m 700 /etc/credstore');
    await systemd.shell(`umask 077; echo '${token}' >/etc/credstore/sallyport-tunnel.token`);
    await systemd.shell(`mkdir -p ${folder} && cp /var/lib/sallyport/state/local-ca/ca.pem ${folder}/ca.pem`);
    const lines = [
      'relay_url: https://relay.localhost',
      'relay_address: 127.0.0.1:443',
      'relay_ca_file: ca.pem',
      'tunnels:',
      '  - { name: own, host: own.relay.localhost, origin: "http://127.0.0.1:9180" }',
    ];
    await systemd.shell(`printf '%s\\n' '${lines.join("' '")}' >${folder}/tunnel.yaml`);
    await systemd.shell('tunnel service install');
    assert.match(await systemd.property(TUNNEL, 'StatusText'), /serving, 1 of 1 tunnels online/);
    const pid = await systemd.property(TUNNEL, 'MainPID');
    assert.doesNotMatch(await systemd.shell(`cat /proc/${pid}/status`), /^Uid:\s+0\b/m);
    const seen = await systemd.shell(`tr '\\0' '\\n' </proc/${pid}/environ; tr '\\0' ' ' </proc/${pid}/cmdline`);
    assert.match(seen, /^CREDENTIALS_DIRECTORY=/m);
    assert.ok(!seen.includes(token));
  });

  test('a backup moves the relay: clients keep their tokens and their CA; a token that is rotated keeps its old client out', async (t) => {
    const systemd = await relayMachine(t);
    if (systemd === undefined) return;
    const config = '/var/lib/sallyport-tunnel/tunnel.yaml';
    await systemd.shell(`eval "$(cat /run/join) --config ${config}"`);
    const tunnel = '  - { name: own, host: own.relay.localhost, origin: "http://127.0.0.1:9180" }';
    await systemd.shell(`echo '${tunnel}' >>${config}; echo 'relay_address: 127.0.0.1:443' >>${config}`);
    await systemd.shell('tunnel service install');
    const isOnline = async () =>
      /1 of 1 tunnels online/.test(await systemd.property(TUNNEL, 'StatusText')) ? true : undefined;
    await until('the tunnel', isOnline);

    // The old VPS, which then is no more; and the new one.
    await systemd.shell('tar --create --gzip --directory /var/lib/sallyport --file /root/sallyport.tgz .');
    await systemd.shell('relay service uninstall && rm -rf /var/lib/sallyport /var/lib/private/sallyport');
    await until('the loss', async () => ((await isOnline()) === undefined ? true : undefined));
    await systemd.shell('mkdir -m 700 /var/lib/sallyport');
    await systemd.shell('tar --extract --directory /var/lib/sallyport --file /root/sallyport.tgz');
    await systemd.shell(`relay service install --config ${CONFIG}`);
    await until('the client at the new relay', isOnline);
    assert.equal((await systemd.shell(ASK)).trim(), '404');

    const rotated = await systemd.shell(`relay token rotate home --config ${CONFIG}`);
    const stopped = async () => ((await systemd.property(TUNNEL, 'ActiveState')) === 'failed' ? true : undefined);
    await until('the end of the old token', stopped);
    assert.equal(await systemd.property(TUNNEL, 'ExecMainStatus'), '77');
    await systemd.shell(`${rotated.trim()} --config ${config}`);
    await systemd.shell(
      'systemctl restart sallyport-tunnel || { journalctl -u sallyport-tunnel --no-pager -n 20 2>&1; false; }',
    );
    assert.equal(await isOnline(), true);
  });

  test('tunnel service install serves through the relay, and uninstall leaves nothing but what was stored', async (t) => {
    const systemd = await relayMachine(t);
    if (systemd === undefined) return;
    const config = '/var/lib/sallyport-tunnel/tunnel.yaml';
    await systemd.shell(`eval "$(cat /run/join) --config ${config}"`);
    const tunnel = '  - { name: own, host: own.relay.localhost, origin: "http://127.0.0.1:9180" }';
    await systemd.shell(`echo '${tunnel}' >>${config}; echo 'relay_address: 127.0.0.1:443' >>${config}`);
    await systemd.shell('tunnel service install');
    assert.equal(await systemd.property(TUNNEL, 'ActiveState'), 'active');
    assert.match(
      await systemd.property(TUNNEL, 'StatusText'),
      /serving, 1 of 1 tunnels online https:\/\/own\.relay\.localhost/,
    );
    const ca = '/var/lib/sallyport/state/local-ca/ca.pem';
    // The admin listener answers 421 to names that are not its own: that is the origin's answer, through the tunnel.
    const visit = `curl --silent --output /dev/null --write-out '%{http_code}' --cacert ${ca} https://own.relay.localhost/`;
    assert.equal(await systemd.shell(visit), '421');
    await systemd.shell('systemctl reload sallyport-tunnel');
    await until('end of the reload', async () =>
      (await systemd.property(TUNNEL, 'ActiveState')) === 'active' ? true : undefined,
    );
    await systemd.shell('systemctl stop sallyport-tunnel');
    assert.equal(await systemd.property(TUNNEL, 'Result'), 'success');

    await systemd.shell('tunnel service uninstall && relay service uninstall');
    assert.equal(await systemd.property(RELAY, 'LoadState'), 'not-found');
    assert.equal((await systemd.shell(`${ASK} || true`)).trim(), '000');
    await systemd.shell(`test -s ${config} && test -s ${CONFIG}`);
  });
});

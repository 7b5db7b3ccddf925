/** What a changed tunnel.yaml means for a running client: exactly what differs, whatever that is. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { configChanges, withChanges } from '../tunnel-client/config-changes.js';
import { parseTunnelConfig, type TunnelConfig } from '../tunnel-client/tunnel-config.js';

interface Tunnel {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly hostHeader: string | undefined;
}

const HEAD = ['relay_url: https://example.com', 'token: abc'];

function configOf(tunnels: readonly Tunnel[], more: readonly string[] = []): TunnelConfig {
  const lines = tunnels.map(({ name, host, port, hostHeader }) => {
    const header = hostHeader === undefined ? '' : `, host_header: ${hostHeader}`;
    return `  - { name: ${name}, host: ${host}.example.com, origin: "127.0.0.1:${port}"${header} }`;
  });
  const list = lines.length === 0 ? ['tunnels: []'] : ['tunnels:', ...lines];
  return parseTunnelConfig([...HEAD, ...more, ...list, ''].join('\n'), '/nowhere/tunnel.yaml', {}, {});
}

/** Few names, hosts and ports, so that the same ones meet often. */
const tunnels = fc
  .uniqueArray(
    fc.record({
      name: fc.constantFrom('a', 'b', 'c', 'd'),
      host: fc.constantFrom('one', 'two', 'three', 'four'),
      port: fc.constantFrom(81, 82),
      hostHeader: fc.constantFrom(undefined, 'inside'),
    }),
    { maxLength: 4, selector: ({ name }) => name },
  )
  .filter((list) => new Set(list.map(({ host }) => host)).size === list.length);

test('a config that is the same changes nothing', () => {
  fc.assert(
    fc.property(tunnels, (list) => {
      assert.deepEqual(configChanges(configOf(list), configOf(list)), {
        release: [],
        claim: [],
        redirect: [],
        isHomeTlsChanged: false,
        applied: [],
        waiting: [],
      });
    }),
  );
});

test('releasing and claiming what the changes say turns the one set of tunnels into the other, and touches no other', () => {
  fc.assert(
    fc.property(tunnels, tunnels, (before, after) => {
      const [running, wanted] = [configOf(before), configOf(after)];
      const { release, claim, redirect } = configChanges(running, wanted);
      // The relay's view: what is claimed under which name. One address belongs to one name at every moment.
      const claimOf = ({ host, hostHeader }: TunnelConfig['tunnels'][number]) => `${host} ${hostHeader}`;
      const claimed = new Map(running.tunnels.map((spec) => [spec.name, spec]));
      for (const name of release) assert.ok(claimed.delete(name), `${name} was not claimed`);
      for (const spec of claim) {
        assert.ok(![...claimed.values()].some(({ host }) => host === spec.host), `${spec.host} is claimed twice`);
        claimed.set(spec.name, spec);
      }
      for (const spec of redirect) {
        const old = claimed.get(spec.name);
        assert.ok(old !== undefined && claimOf(old) === claimOf(spec) && old.origin.text !== spec.origin.text);
        claimed.set(spec.name, spec);
      }
      const plain = (specs: Iterable<TunnelConfig['tunnels'][number]>) =>
        [...specs].map((spec) => JSON.stringify(spec)).sort();
      assert.deepEqual(plain(claimed.values()), plain(wanted.tunnels));
      // Only what differs is touched.
      const same = wanted.tunnels.filter((spec) =>
        running.tunnels.some((old) => JSON.stringify(old) === JSON.stringify(spec)),
      );
      const touched = new Set([...release, ...claim.map(({ name }) => name), ...redirect.map(({ name }) => name)]);
      assert.deepEqual(
        same.filter(({ name }) => touched.has(name)),
        [],
      );
    }),
  );
});

test('each option either counts at once or waits, and what waits stays as it was', () => {
  const cases: [line: string, option: string, counts: 'applied' | 'waiting'][] = [
    ['relay_address: 127.0.0.1:1', 'relay_address', 'waiting'],
    ['links: 3', 'links', 'waiting'],
    ['client_id: other', 'client_id', 'waiting'],
    ['log: { format: json }', 'log.format', 'waiting'],
    ['connect_timeout: 3s', 'connect_timeout', 'applied'],
    ['drain_timeout: 3s', 'drain_timeout', 'applied'],
    ['log: { level: debug }', 'log.level', 'applied'],
  ];
  const running = configOf([]);
  for (const [line, option, counts] of cases) {
    const wanted = configOf([], [line]);
    const changes = configChanges(running, wanted);
    assert.deepEqual([changes.applied, changes.waiting], counts === 'applied' ? [[option], []] : [[], [option]], line);
    const left = configChanges(withChanges(running, wanted), wanted);
    assert.deepEqual([left.applied, left.waiting], counts === 'applied' ? [[], []] : [[], [option]], line);
  }
});

test('another token waits for a restart, and is told by its name alone', () => {
  const text = 'relay_url: https://example.com\ntoken: SECRET\n';
  const [running, wanted] = ['one', 'two'].map((token) =>
    parseTunnelConfig(text.replace('SECRET', token), '/nowhere/tunnel.yaml', {}, {}),
  );
  assert.ok(running !== undefined && wanted !== undefined);
  assert.deepEqual(configChanges(running, wanted).waiting, ['token']);
  assert.doesNotMatch(JSON.stringify(configChanges(running, wanted)), /one|two/);
});

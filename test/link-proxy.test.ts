/** Which proxy the link takes: tunnel.yaml first, then the variables, with their exceptions. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from 'node:util';
import fc from 'fast-check';
import { TunnelError } from '../shared/errors.js';
import { isException, linkProxy, parseProxyUrl, proxyText, whyNoProxy } from '../tunnel-client/proxy/link-proxy.js';
import { parseTunnelConfig } from '../tunnel-client/tunnel-config.js';

const RELAY = { relayUrl: new URL('https://relay.example.com'), relayAddress: undefined, proxy: undefined };

function chosen(env: Record<string, string>, changes: object = {}): string | undefined {
  const proxy = linkProxy({ ...RELAY, ...changes }, env);
  return proxy && proxyText(proxy);
}

test('variables are looked up in the order that curl has, and an empty one is none', () => {
  assert.equal(chosen({}), undefined);
  assert.equal(chosen({ HTTPS_PROXY: 'http://a:1', https_proxy: 'http://b:2' }), 'http://b:2');
  assert.equal(chosen({ https_proxy: '', HTTPS_PROXY: 'a:1' }), 'http://a:1');
  assert.equal(chosen({ ALL_PROXY: 'https://a' }), 'https://a:443');
  assert.equal(chosen({ http_proxy: 'http://a:1' }), undefined);
});

test('no_proxy takes the relay out, by its name or by the address that is dialled', () => {
  const env = { https_proxy: 'http://p:1' };
  assert.equal(chosen({ ...env, no_proxy: 'localhost, example.com' }), undefined);
  assert.equal(chosen({ ...env, NO_PROXY: '*' }), undefined);
  assert.equal(chosen({ ...env, NO_PROXY: '10.0.0.0/8' }), 'http://p:1');
  const relayAddress = { host: '10.1.2.3', port: 8443 };
  assert.equal(chosen({ ...env, NO_PROXY: '10.0.0.0/8' }, { relayAddress }), undefined);
});

test('a relay on this machine is not asked for through a proxy, unless tunnel.yaml says so', () => {
  const env = { https_proxy: 'http://p:1' };
  const proxy = parseProxyUrl('http://file:2', 'proxy_url');
  for (const relayAddress of [
    { host: '127.0.0.1', port: 443 },
    { host: '::1', port: 443 },
    { host: 'localhost', port: 443 },
  ]) {
    assert.equal(chosen(env, { relayAddress }), undefined);
    assert.equal(chosen(env, { relayAddress, proxy }), 'http://file:2');
  }
  assert.equal(chosen(env, { relayUrl: new URL('https://relay.localhost') }), undefined);
});

test('a variable that does not count is told as such, with the reason', () => {
  const env = { HTTPS_PROXY: 'http://p:1' };
  const loopback = { ...RELAY, relayAddress: { host: '127.0.0.1', port: 443 } };
  const cases: [string, string][] = [
    [whyNoProxy(RELAY, {}), 'none is set'],
    [whyNoProxy(loopback, env), 'HTTPS_PROXY is set, but does not count: the relay is on this machine'],
    [
      whyNoProxy(RELAY, { ...env, NO_PROXY: 'example.com' }),
      'HTTPS_PROXY is set, but does not count: NO_PROXY takes relay.example.com out',
    ],
    [whyNoProxy({ ...RELAY, proxy: 'off' }, env), 'HTTPS_PROXY is set, but does not count: proxy_url is off'],
  ];
  for (const [said, expected] of cases) assert.equal(said, expected);
});

test('a link without TLS takes no proxy', () => {
  assert.equal(chosen({ https_proxy: 'http://p:1' }, { relayUrl: new URL('http://localhost:8080') }), undefined);
});

test('exceptions are names with their subdomains, addresses, networks, ports', () => {
  const relay = { host: 'relay.example.com', port: 443 };
  for (const list of ['relay.example.com', '.example.com', 'example.com', '*.example.com', 'EXAMPLE.com.', 'x,com']) {
    assert.equal(isException(list, relay), true, list);
  }
  for (const list of ['', 'ample.com', 'relay.example', 'relay.example.com:8443', 'a.relay.example.com', '1/2/3']) {
    assert.equal(isException(list, relay), false, list);
  }
  assert.equal(isException('relay.example.com:443', relay), true);
  assert.equal(isException('2001:db8::1', { host: '2001:db8::1', port: 443 }), true);
  assert.equal(isException('[2001:db8::1]:443', { host: '2001:db8::1', port: 443 }), true);
  assert.equal(isException('2001:db8::/32', { host: '2001:db8::1', port: 443 }), true);
  assert.equal(isException('1.2.3.4', { host: '11.2.3.4', port: 443 }), false);
});

test('a login is percent-decoded, and shown nowhere', () => {
  const proxy = parseProxyUrl('http://us%40er:p%3Aw%20d@proxy.lan:3128', 'HTTPS_PROXY');
  assert.equal(proxy.login?.reveal(), 'us@er:p:w d');
  assert.equal(proxyText(proxy), 'http://proxy.lan:3128');
  assert.doesNotMatch(`${inspect(proxy)} ${JSON.stringify(proxy)}`, /p:w d/);
});

test('what is no HTTP proxy is refused without a word of it', () => {
  const bad = [
    'socks5://u:hunter2@p:1',
    'http://u:hunter2@',
    'http://u:hunter2@p:99999',
    'http://u:hunter2@p/x',
    'a b',
  ];
  for (const text of [...bad, 'http://u:%zzhunter2@p:1', `http://${'a'.repeat(5_000)}`]) {
    assert.throws(
      () => parseProxyUrl(text, 'https_proxy'),
      (error: unknown) =>
        error instanceof TunnelError && error.code === 'CONFIG_INVALID' && !/hunter2|aaaa/.test(error.message),
      text,
    );
  }
});

test('any text is a proxy, or is refused as CONFIG_INVALID', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.webUrl(),
        fc.string().map((tail) => `http://${tail}`),
      ),
      (text) => {
        try {
          const { address } = parseProxyUrl(text, 'x');
          assert.ok(address.host !== '' && address.port >= 1 && address.port <= 65_535);
        } catch (error) {
          assert.ok(error instanceof TunnelError && error.code === 'CONFIG_INVALID');
        }
      },
    ),
  );
});

test('any list of exceptions is an answer', () => {
  fc.assert(
    fc.property(fc.string(), fc.domain(), (list, host) => {
      assert.equal(typeof isException(list, { host, port: 443 }), 'boolean');
      assert.equal(isException(`${list},${host}`, { host, port: 443 }), true);
    }),
  );
});

const YAML = 'relay_url: https://relay.example.com\ntoken: \x24{T}\n';
const parse = (more: string) =>
  parseTunnelConfig(`${YAML}${more}\n`, 'tunnel.yaml', {}, { T: 'x', LOGIN: 'me:secret' });

test('tunnel.yaml comes before the variables, and off means none', () => {
  const env = { https_proxy: 'http://variable:1' };
  assert.equal(linkProxy(parse(''), env)?.address.host, 'variable');
  assert.equal(linkProxy(parse('proxy_url: off'), env), undefined);
  const config = parse('proxy_url: http://file:3128\nproxy_login: \x24{LOGIN}');
  const proxy = linkProxy(config, { ...env, no_proxy: '*' });
  assert.deepEqual([proxy?.address.host, proxy?.login?.reveal()], ['file', 'me:secret']);
});

test('a login in proxy_url, or without it, is refused', () => {
  assert.throws(() => parse('proxy_url: http://me:hunter2@p:1'), /tunnel.yaml:3: proxy_url must be without user name/);
  assert.throws(() => parse('proxy_login: \x24{LOGIN}'), /proxy_login has no effect without proxy_url/);
});

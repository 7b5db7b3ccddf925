/** The alerts and dashboards that we ship, in a real Prometheus that watches a real relay and a real client. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { freePort } from '../bench/free-port.js';
import { listenForAdmin } from '../tunnel-client/ops/admin-listener.js';
import { talkToRelay } from './support/carry.js';
import { startVault, VAULT, vaultTunnel } from './support/home-tls.js';
import { startHttpOrigin } from './support/origins.js';
import { requireTool } from './support/require-tool.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { runTool, ToolProcess } from './support/tool-process.js';
import { until } from './support/within.js';

const config = (name: string) => fileURLToPath(new URL(`../../config/${name}`, import.meta.url));
const ALERTS = config('prometheus/alerts.yaml');

interface Panel {
  readonly title: string;
  readonly targets: readonly { readonly expr: string }[];
}

interface Expression {
  readonly where: string;
  readonly text: string;
}

function alertExpressions(): Expression[] {
  const { groups } = parse(readFileSync(ALERTS, 'utf8')) as {
    groups: { rules: { alert: string; expr: string; annotations: Record<string, string> }[] }[];
  };
  return groups.flatMap(({ rules }) =>
    rules.map(({ alert, expr, annotations }) => {
      assert.ok(annotations.summary && annotations.cure, `${alert} says what it means and what to do`);
      return { where: alert, text: expr };
    }),
  );
}

/** With what Grafana would put in the place of its variables. */
function panelExpressions(name: string): Expression[] {
  const { panels } = JSON.parse(readFileSync(config(`grafana/${name}.json`), 'utf8')) as { panels: Panel[] };
  return panels.flatMap(({ title, targets }) =>
    targets.map(({ expr }) => {
      const text = expr.replaceAll('$__rate_interval', '1m').replaceAll(/\$(instance|tunnel)\b/g, '.*');
      assert.doesNotMatch(text, /\$/, `${title} uses a variable that the test does not know`);
      return { where: `${name}: ${title}`, text };
    }),
  );
}

/** The metrics that an expression names, as families. */
function familiesIn({ text }: Expression): string[] {
  const names = text.match(/\b(?:sallyport|process|nodejs)_\w+/g) ?? [];
  return names.map((name) => name.replace(/_bucket$/, ''));
}

test('promtool accepts the alerts, and each fires when it should', async (t) => {
  const promtool = requireTool(t, 'promtool', 'prometheus');
  if (promtool === undefined) return;
  for (const args of [
    ['check', 'rules', ALERTS],
    ['test', 'rules', config('prometheus/alerts.test.yaml')],
    ['check', 'config', '--syntax-only', config('prometheus/prometheus.example.yaml')],
  ]) {
    const { code, stdout, stderr } = await runTool(t, promtool, args);
    assert.equal(code, 0, `${args.join(' ')}: ${stdout}${stderr}`);
  }
  const tested = readFileSync(config('prometheus/alerts.test.yaml'), 'utf8');
  for (const { where } of alertExpressions()) assert.ok(tested.includes(`alertname="${where}"`), `${where} is tested`);
});

test('a real Prometheus finds every metric that the alerts and dashboards name', async (t) => {
  const prometheus = requireTool(t, 'prometheus', 'prometheus');
  if (prometheus === undefined) return;
  const origin = await startHttpOrigin(t, (_request, response) => response.end('hello'));
  const { relay, client, certificate } = await startVault(t, origin.url);
  assert.ok(vaultTunnel(origin.url, certificate).includes(VAULT));
  await relay.client(t, [`{ name: app, host: app.relay.localhost, origin: "${origin.url}" }`], { clientId: 'two' });
  const admin = await listenForAdmin({ host: '127.0.0.1', port: 0 }, client.client);
  t.after(() => admin.close());
  const visitor = await talkToRelay(t, relay);
  const atHome = await talkToRelay(t, relay, { servername: VAULT, ca: certificate.ca });

  const folder = temporaryFolder(t);
  const port = await freePort();
  const job = (name: string, target: number) => ({
    job_name: name,
    static_configs: [{ targets: [`127.0.0.1:${target}`] }],
  });
  const document = {
    global: { scrape_interval: '1s', evaluation_interval: '1s' },
    scrape_configs: [job('sallyport-relay', relay.port('admin')), job('sallyport-client', admin.address.port)],
    rule_files: [ALERTS],
  };
  // JSON is YAML.
  writeFileSync(join(folder, 'prometheus.yml'), JSON.stringify(document));
  const program = new ToolProcess(t, prometheus, [
    `--config.file=${join(folder, 'prometheus.yml')}`,
    `--storage.tsdb.path=${join(folder, 'data')}`,
    `--web.listen-address=127.0.0.1:${port}`,
  ]);
  await program.line('Server is ready to receive web requests');
  const query = async (path: string, parameters: Record<string, string> = {}) => {
    const response = await fetch(`http://127.0.0.1:${port}/api/v1/${path}?${new URLSearchParams(parameters)}`);
    return (await response.json()) as {
      status: string;
      error?: string;
      data: { result: unknown[] } & Record<string, unknown>;
    };
  };
  const talk = async () => {
    visitor.send('GET / HTTP/1.1\r\nHost: app.relay.localhost\r\n\r\n');
    await visitor.until('hello');
    atHome.send(`GET / HTTP/1.1\r\nHost: ${VAULT}\r\n\r\n`);
    await atHome.until('hello');
  };
  // Two scrapes with requests before and between them: then everything has a rate.
  await talk();
  await until('both are scraped twice', async () => {
    await talk();
    const { data } = await query('query', { query: 'count_over_time(up[1m]) >= 3' });
    return data.result.length === 2 ? true : undefined;
  });
  const metadata = (await query('metadata')).data as unknown as Record<string, unknown>;
  for (const expression of [...alertExpressions(), ...panelExpressions('relay'), ...panelExpressions('client')]) {
    const { where, text } = expression;
    for (const family of familiesIn(expression)) assert.ok(family in metadata, `${where}: there is no ${family}`);
    const { status, error } = await query('query', { query: text });
    assert.equal(status, 'success', `${where}: ${error}`);
  }
  for (const expression of [...panelExpressions('relay'), ...panelExpressions('client')]) {
    const { where, text } = expression;
    const series = await Promise.all(
      familiesIn(expression).map(
        async (family) => (await query('query', { query: `{__name__=~"${family}(_bucket)?"}` })).data.result.length,
      ),
    );
    if (series.some((count) => count === 0) || text.endsWith('> 0')) continue; // Nothing failed here.
    const { data } = await query('query', { query: text });
    assert.ok(data.result.length > 0, `${where} shows nothing: ${text}`);
  }
  const { data } = (await query('rules')) as unknown as {
    data: { groups: { rules: { health: string; state: string; name: string }[] }[] };
  };
  const rules = data.groups.flatMap((group) => group.rules);
  assert.equal(rules.length, alertExpressions().length);
  assert.deepEqual(
    rules.filter(({ health, state }) => health === 'err' || state === 'firing').map(({ name }) => name),
    [],
  );
});

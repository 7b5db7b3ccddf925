/** `tunnel join`: what a client keeps of a join line, how private it is, and what of a person's file stays. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import * as fs from 'node:fs';
import * as path from 'node:path';
import test, { type TestContext } from 'node:test';
import { Command } from 'commander';
import fc from 'fast-check';
import { makeCaCertificate, makeKey } from '../relay-server/certs/local-issuer.js';
import { formatJoinLine } from '../shared/command/join-line.js';
import { editConfigText, readConfigText } from '../shared/config/config-edit.js';
import { TunnelError } from '../shared/errors.js';
import { generateToken } from '../shared/token.js';
import { addJoinCommand } from '../tunnel-client/join-command.js';
import { nextStep } from '../tunnel-client/join-hints.js';
import { readTunnelConfig } from '../tunnel-client/tunnel-config.js';
import { startNode } from './support/node-process.js';
import { type RecordingIo, recordingIo } from './support/recording-io.js';
import { requireTool } from './support/require-tool.js';
import { modeOf, temporaryFolder } from './support/temporary-folder.js';

const dayMs = 86_400_000;
const caPem = await makeCaCertificate(await makeKey(), { fromMs: Date.now() - dayMs, toMs: Date.now() + dayMs });
const ca = new X509Certificate(caPem).raw;

interface Joining {
  readonly relayUrl?: string;
  readonly ca?: Buffer;
  readonly address?: string;
}

/** A join line of a new token, with the token's text. */
function newLine({ relayUrl = 'https://example.com', ca, address }: Joining = {}) {
  const token = generateToken().text;
  return { line: formatJoinLine({ relayUrl, token, ca, address }).reveal(), token: token.reveal() };
}

/** Runs `tunnel join` with these arguments. */
async function join(io: RecordingIo, ...args: string[]): Promise<RecordingIo> {
  const program = new Command('tunnel').exitOverride();
  addJoinCommand(program, io);
  await program.parseAsync(['join', ...args], { from: 'user' });
  return io;
}

function configIn(t: TestContext): string {
  return path.join(temporaryFolder(t), 'sallyport', 'tunnel.yaml');
}

test('joining stores relay, token and CA in private files that the client reads', async (t) => {
  const config = configIn(t);
  const { line, token } = newLine({ relayUrl: 'https://example.com:8443', ca, address: '203.0.113.7:8443' });
  await join(recordingIo(), line, '--config', config);
  const folder = path.dirname(config);
  assert.deepEqual(fs.readdirSync(folder).sort(), ['ca.pem', 'token', 'tunnel.yaml']);
  const modes = ['.', 'ca.pem', 'token', 'tunnel.yaml'].map((name) => modeOf(path.join(folder, name)));
  assert.deepEqual(modes, ['700', '600', '600', '600']);
  const read = readTunnelConfig(config, {}, {});
  assert.deepEqual([read.relayUrl.href, read.token.reveal()], ['https://example.com:8443/', token]);
  assert.deepEqual([read.relayAddress, read.tunnels], [{ host: '203.0.113.7', port: 8_443 }, []]);
  assert.deepEqual(new X509Certificate(read.relayCa ?? '').raw, ca);
  assert.ok(!fs.readFileSync(config, 'utf8').includes(token), 'the token is in the config file');
});

test('the next command is all that stands on stdout, and the token is printed nowhere', async (t) => {
  const config = configIn(t);
  const { line, token } = newLine();
  const io = await join(recordingIo(), line, '--config', config);
  assert.deepEqual(io.printed, [`tunnel up 3000 --host app.example.com --config ${config}`]);
  const seed = token.split('.')[2] ?? assert.fail('no seed');
  assert.ok(![...io.printed, ...io.noted].join('\n').includes(seed));
});

test('the next command fits the file: its tunnels, the service, and a service that an old token ended', async (t) => {
  const config = configIn(t);
  await join(recordingIo(), newLine().line, '--config', config);
  fs.appendFileSync(config, '  - { name: ssh, tcp_port: 2222, origin: "tcp://127.0.0.1:22" }\n');
  const io = await join(recordingIo(), newLine().line, '--config', config);
  assert.deepEqual(io.printed, [`tunnel up --config ${config}`]);
  assert.match(io.noted.join('\n'), /`tunnel up` that runs must be started again/);
  const joined = { tunnels: 0, isAgain: false, exampleHost: 'app.example.com' };
  const commands = ['', '-work'].flatMap((suffix) =>
    [false, true].map(
      (isAgain) => nextStep({ ...joined, isAgain, config: `/var/lib/sallyport-tunnel${suffix}/tunnel.yaml` }).command,
    ),
  );
  assert.deepEqual(commands, [
    'sudo tunnel service install',
    'sudo systemctl restart sallyport-tunnel',
    'sudo tunnel service install --instance work',
    'sudo systemctl restart sallyport-tunnel@work',
  ]);
});

test('the example in a new file is right once its # is removed', async (t) => {
  const config = configIn(t);
  await join(recordingIo(), newLine().line, '--config', config);
  fs.writeFileSync(config, fs.readFileSync(config, 'utf8').replace('# - {', '- {'));
  const [tunnel] = readTunnelConfig(config, {}, {}).tunnels;
  assert.deepEqual(
    [tunnel?.name, tunnel?.host, tunnel?.origin.text],
    ['app', 'app.example.com', 'http://127.0.0.1:3000'],
  );
});

test('without --config everything goes to the config folder of the user', async (t) => {
  const folder = temporaryFolder(t);
  const before = process.env.XDG_CONFIG_HOME;
  t.after(() => {
    if (before === undefined) delete process.env.XDG_CONFIG_HOME;
    else process.env.XDG_CONFIG_HOME = before;
  });
  process.env.XDG_CONFIG_HOME = folder;
  const io = await join(recordingIo(), newLine().line);
  assert.deepEqual(fs.readdirSync(path.join(folder, 'sallyport')).sort(), ['token', 'tunnel.yaml']);
  assert.deepEqual(io.printed, ['tunnel up 3000 --host app.example.com']);
});

test('joining again replaces the relay and keeps tunnels, other options, their order and every comment', async (t) => {
  const config = configIn(t);
  await join(
    recordingIo(),
    newLine({ relayUrl: 'https://old.example', ca, address: '203.0.113.7:443' }).line,
    '--config',
    config,
  );
  const mine = [
    '# mine: top',
    'links: 4 # mine: links',
    fs.readFileSync(config, 'utf8').trimEnd(),
    '  # mine: first',
    '  - { name: home, host: home.example.com, origin: "http://127.0.0.1:8123" } # mine: beside',
    '  - name: ssh',
    '    tcp_port: 2222',
    '    origin: "tcp://127.0.0.1:22"',
    '# mine: end',
    '',
  ];
  fs.writeFileSync(config, mine.join('\n'));
  const { line, token } = newLine();
  const io = await join(recordingIo(), line, '--config', config);
  const read = readTunnelConfig(config, {}, {});
  assert.deepEqual([read.relayUrl.href, read.token.reveal(), read.links], ['https://example.com/', token, 4]);
  assert.deepEqual([read.relayCa, read.relayAddress], [undefined, undefined], 'left over from the old relay');
  assert.deepEqual(
    read.tunnels.map(({ name }) => name),
    ['home', 'ssh'],
  );
  const comments = fs.readFileSync(config, 'utf8').match(/# mine: \w+/g);
  assert.deepEqual(comments, ['# mine: top', '# mine: links', '# mine: first', '# mine: beside', '# mine: end']);
  const noted = io.noted.join('\n');
  assert.match(
    noted,
    /Left the relay https:\/\/old\.example\. Removed its relay_ca_file ca\.pem and its relay_address/,
  );
});

test('a new token of the same relay leaves every other line as it was typed', async (t) => {
  const config = configIn(t);
  await join(recordingIo(), newLine({ relayUrl: 'https://example.com:8443' }).line, '--config', config);
  const mine = fs
    .readFileSync(config, 'utf8')
    .replace('token_file:', "relay_ca_file:   'mine.pem'  # my own\n\n# and the token\ntoken_file:");
  assert.match(mine, /^tunnels:\n {2}# - \{ name: app/m);
  fs.writeFileSync(config, mine);
  const { line, token } = newLine({ relayUrl: 'https://example.com:8443' });
  const io = await join(recordingIo(), line, '--config', config);
  assert.equal(fs.readFileSync(config, 'utf8'), mine);
  assert.equal(fs.readFileSync(path.join(path.dirname(config), 'token'), 'utf8'), `${token}\n`);
  assert.doesNotMatch(io.noted.join('\n'), /Left|Removed/);
});

test('an edit takes away, changes and adds lines, and moves no comment', () => {
  const before = '# top\nb: 1 # one\na: x # two\n\n# over c\nc: "y"\nlist:\n  # - inner\n  # - more\n';
  assert.equal(
    editConfigText(before, 'tunnel.yaml', { a: 'z: #', d: '4', c: undefined }),
    '# top\nb: 1 # one\na: "z: #" # two\nd: "4"\n\n# over c\nlist:\n  # - inner\n  # - more\n',
  );
});

test("joining into a file of one's own adds what is missing and takes an inline token away", async (t) => {
  const config = configIn(t);
  fs.mkdirSync(path.dirname(config));
  for (const text of ['', '# only a comment\n', 'token: sp1.old\ntunnels: []\n', '{ links: 3 }\n']) {
    fs.writeFileSync(config, text);
    const { line, token } = newLine({ ca });
    await join(recordingIo(), line, '--config', config);
    const read = readTunnelConfig(config, {}, {});
    assert.deepEqual([read.relayUrl.href, read.token.reveal()], ['https://example.com/', token], text);
    assert.ok(read.relayCa);
    assert.equal(modeOf(config), '600');
  }
});

test('a file that is no config file is left as it is, and not repeated in the message', async (t) => {
  const config = configIn(t);
  fs.mkdirSync(path.dirname(config));
  for (const text of ['- a\n- list\n', 'token: "hush\n', 'a: b: hush\n']) {
    fs.writeFileSync(config, text);
    await assert.rejects(join(recordingIo(), newLine().line, '--config', config), (error: Error) => {
      assert.match(error.message, /Cannot change .*tunnel\.yaml: it is not a config file/);
      return !error.message.includes('hush');
    });
    assert.equal(fs.readFileSync(config, 'utf8'), text);
    assert.deepEqual(fs.readdirSync(path.dirname(config)), ['tunnel.yaml']);
  }
});

test('two config files in one folder do not share a token', async (t) => {
  const folder = temporaryFolder(t);
  const lines = ['tunnel', 'work'].map((name) => ({ config: path.join(folder, `${name}.yaml`), ...newLine({ ca }) }));
  for (const { line, config } of lines) await join(recordingIo(), line, '--config', config);
  for (const { token, config } of lines) assert.equal(readTunnelConfig(config, {}, {}).token.reveal(), token);
  assert.deepEqual(fs.readdirSync(folder).sort(), [
    'ca.pem',
    'token',
    'tunnel.yaml',
    'work.ca.pem',
    'work.token',
    'work.yaml',
  ]);
});

test('a wrong join line stores nothing', async (t) => {
  const config = configIn(t);
  const { line } = newLine();
  const wrong: [string, string][] = [
    ['hello', 'USAGE_INVALID'],
    [line.slice(0, -3), 'TOKEN_REJECTED'],
  ];
  for (const [text, code] of wrong) await assert.rejects(join(recordingIo(), text, '--config', config), { code });
  assert.equal(fs.existsSync(path.dirname(config)), false);
});

test('the line comes from standard input for -, or is asked for on a terminal', async (t) => {
  const config = configIn(t);
  const ios: [string, string[], RecordingIo][] = [];
  for (const [args, source] of [
    [['-'], 'piped'],
    [[], 'typed'],
    [['-'], 'typed'],
  ] as const) {
    const { line, token } = newLine();
    ios.push([token, [...args], recordingIo({ [source]: `${line}\n` })]);
  }
  for (const [token, args, io] of ios) {
    await join(io, ...args, '--config', config);
    assert.equal(readTunnelConfig(config, {}, {}).token.reveal(), token);
  }
  await assert.rejects(join(recordingIo(), '--config', config), {
    code: 'USAGE_INVALID',
    message: /tunnel join - < FILE/,
  });
});

test('a join line is read from a pipe until it ends, but not without a limit', async (t) => {
  const config = configIn(t);
  const { line, token } = newLine();
  const code = `
    const { runJoin } = await load('tunnel-client/join-command.js');
    const { processIo } = await load('shared/command/command-io.js');
    await runJoin('-', { config: process.argv.at(-1) }, processIo()).catch((error) => console.log(error.message));`;
  const good = startNode(t, code, [config]);
  good.child.stdin?.write(line.slice(0, 40));
  good.child.stdin?.end(`${line.slice(40)}\n`);
  assert.match(await good.line(), /^tunnel up 3000/);
  assert.equal(readTunnelConfig(config, {}, {}).token.reveal(), token);
  const endless = startNode(t, code, [config]);
  endless.child.stdin?.on('error', () => {});
  endless.child.stdin?.write('x'.repeat(1 << 20));
  assert.match(await endless.line(), /standard input: it is larger than 65536 bytes/);
});

test('no text of a config file makes an edit do anything but change its keys or refuse', () => {
  const piece = fc.constantFrom(
    'relay_url',
    'token_file',
    ':',
    ' ',
    '\n',
    '- ',
    '{',
    '}',
    '[',
    '# x',
    '"',
    '*a',
    '&a ',
    '|',
    'a',
    '---\n',
    '!t ',
  );
  const text = fc.oneof(
    fc.string(),
    fc.array(piece, { maxLength: 20 }).map((pieces) => pieces.join('')),
  );
  fc.assert(
    fc.property(text, (before) => {
      let after: string;
      try {
        after = editConfigText(before, 'tunnel.yaml', { relay_url: 'https://example.com', token: undefined });
      } catch (error) {
        assert.ok(error instanceof TunnelError, String(error));
        assert.equal(error.code, 'CONFIG_INVALID');
        return;
      }
      assert.equal(readConfigText(after, 'relay_url'), 'https://example.com');
      assert.equal(readConfigText(after, 'token'), undefined);
    }),
    { numRuns: 500 },
  );
});

test('a folder that cannot be written is a config error', async (t) => {
  const folder = temporaryFolder(t);
  fs.writeFileSync(path.join(folder, 'file'), '');
  const config = path.join(folder, 'file', 'tunnel.yaml');
  await assert.rejects(join(recordingIo(), newLine().line, '--config', config), { code: 'CONFIG_INVALID' });
});

test('what is typed on a real terminal is not shown', async (t) => {
  const script = requireTool(t, 'script', 'bsdutils');
  if (script === undefined) return;
  const config = configIn(t);
  const { line, token } = newLine({ ca });
  const module = (name: string) => JSON.stringify(new URL(`../${name}`, import.meta.url).href);
  const code = `
    import { runJoin } from ${module('tunnel-client/join-command.js')};
    import { processIo } from ${module('shared/command/command-io.js')};
    await runJoin(undefined, { config: process.argv.at(-1) }, processIo());
    process.exit();`;
  const program = path.join(temporaryFolder(t), 'join.mjs');
  fs.writeFileSync(program, code);
  const terminal = spawn(script, ['-qec', `${process.execPath} ${program} ${config}`, '/dev/null'], {
    timeout: 30_000,
  });
  t.after(() => void terminal.kill('SIGKILL'));
  let shown = '';
  const asked = new Promise<void>((resolve) => {
    terminal.stdout.on('data', (text) => {
      shown += text;
      if (shown.includes('not shown')) resolve();
    });
  });
  const ended = once(terminal, 'close');
  await asked;
  terminal.stdin.write(`${line}\r`);
  const [exitCode] = await ended;
  assert.equal(exitCode, 0, shown);
  assert.match(shown, /tunnel up 3000 --host app\.example\.com/);
  assert.ok(!shown.includes(token.slice(0, 12)), 'the token was echoed');
  assert.equal(readTunnelConfig(config, {}, {}).token.reveal(), token);
});

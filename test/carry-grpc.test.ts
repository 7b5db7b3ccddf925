/** gRPC through the tunnel, spoken by grpc-js at both ends: HTTP/2 to the relay, HTTP/2 in clear text to the origin. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import {
  type Client,
  Metadata,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceError,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js';
import { startAppTunnel } from './support/carry.js';
import { asBytes, ask, asText, grpcVisitor, startGrpcOrigin, TALK } from './support/grpc.js';
import { startVault, VAULT } from './support/home-tls.js';
import { within } from './support/within.js';

const MIB = 1024 * 1024;

/** What the origin's calls do, by what the visitor says. */
const talk = {
  ask(call: ServerUnaryCall<string, string>, done: sendUnaryData<string>): void {
    if (call.request === 'refuse') done({ code: status.PERMISSION_DENIED, details: 'nicht für dich' });
    else done(null, `you said ${call.request.length > 100 ? call.request.length : call.request}`, trailer('asked'));
  },
  listen(call: ServerWritableStream<string, string>): void {
    for (let count = 1; count <= Number(call.request); count += 1) call.write(`${count}`);
    call.end(trailer('listened'));
  },
  async tell(call: ServerReadableStream<string, string>, done: sendUnaryData<string>): Promise<void> {
    const told: string[] = [];
    for await (const text of call) told.push(text);
    done(null, told.join(' '));
  },
  chat(call: ServerDuplexStream<string, string>): void {
    call.sendMetadata(trailer('chatting'));
    call.on('data', (text: string) => call.write(`${text}?`));
    call.on('end', () => call.end());
  },
};

function trailer(value: string): Metadata {
  const metadata = new Metadata();
  metadata.set('x-seen', value);
  metadata.set('x-raw-bin', Buffer.of(0, 255, 13, 10));
  return metadata;
}

interface Talkers {
  readonly where: string;
  readonly start: (t: TestContext) => Promise<Client>;
}

/** TLS ends at the relay, and at home: the same code serves both. */
const TALKERS: readonly Talkers[] = [
  {
    where: 'at the relay',
    start: async (t) => {
      const origin = await startGrpcOrigin(t, talk);
      const relay = await startAppTunnel(t, origin.url, { http2: 'on' });
      return grpcVisitor(t, relay.port('https'), relay.home.ca);
    },
  },
  {
    where: 'at home',
    start: async (t) => {
      const origin = await startGrpcOrigin(t, talk);
      const { relay, certificate } = await startVault(t, origin.url, { http2: 'on' });
      return grpcVisitor(t, relay.port('https'), certificate.ca, VAULT);
    },
  },
];

async function messagesOf(call: AsyncIterable<string>): Promise<string[]> {
  const messages: string[] = [];
  for await (const text of call) messages.push(text);
  return messages;
}

for (const { where, start } of TALKERS) {
  test(`unary, server-streaming, client-streaming and two-way calls work where TLS ends ${where}`, async (t) => {
    const visitor = await start(t);
    assert.equal(await ask(visitor, 'hello'), 'you said hello');

    const listened = visitor.makeServerStreamRequest(TALK.listen.path, asBytes, asText, '1000');
    const ended = once(listened, 'status');
    assert.deepEqual(
      await messagesOf(listened),
      Array.from({ length: 1000 }, (_, index) => `${index + 1}`),
    );
    const [{ code, metadata }] = await ended;
    assert.equal(code, status.OK);
    assert.deepEqual(metadata.get('x-seen'), ['listened']);
    assert.deepEqual(metadata.get('x-raw-bin'), [Buffer.of(0, 255, 13, 10)]);

    const told = new Promise<string>((resolve, reject) => {
      const call = visitor.makeClientStreamRequest(TALK.tell.path, asBytes, asText, (error, answer) => {
        if (error === null) resolve(answer ?? '');
        else reject(error);
      });
      for (const text of ['one', 'two', 'three']) call.write(text);
      call.end();
    });
    assert.equal(await told, 'one two three');

    const chat = visitor.makeBidiStreamRequest(TALK.chat.path, asBytes, asText);
    const [greeting] = await once(chat, 'metadata');
    assert.deepEqual(greeting.get('x-seen'), ['chatting']);
    for (const text of ['who', 'what', 'why']) {
      chat.write(text);
      assert.deepEqual(await once(chat, 'data'), [`${text}?`]);
    }
    const over = once(chat, 'status');
    chat.end();
    assert.equal((await over)[0].code, status.OK);
  });
}

async function startTalk(t: TestContext): Promise<Client> {
  return (TALKERS[0] as Talkers).start(t);
}

test('an error without a message arrives with its code and details (a trailers-only response)', async (t) => {
  const visitor = await startTalk(t);
  await assert.rejects(ask(visitor, 'refuse'), (error: ServiceError) => {
    assert.equal(error.code, status.PERMISSION_DENIED);
    assert.equal(error.details, 'nicht für dich');
    return true;
  });
  await assert.rejects(ask(visitor, 'hello', '/test.Talk/Unknown'), { code: status.UNIMPLEMENTED });
  assert.equal(await ask(visitor, 'hello'), 'you said hello');
});

test('a message of megabytes passes, and a hundred calls at a time do', async (t) => {
  const visitor = await startTalk(t);
  assert.equal(await ask(visitor, 'x'.repeat(3 * MIB)), `you said ${3 * MIB}`);
  const answers = await Promise.all(Array.from({ length: 100 }, (_, index) => ask(visitor, `${index}`)));
  assert.deepEqual(
    answers,
    Array.from({ length: 100 }, (_, index) => `you said ${index}`),
  );
});

test('a call that the visitor cancels is cancelled at the origin, and a deadline is kept', async (t) => {
  const cancelled: Promise<unknown>[] = [];
  const origin = await startGrpcOrigin(t, {
    ...talk,
    ask: (call: ServerUnaryCall<string, string>) => void cancelled.push(once(call, 'cancelled')),
  });
  const relay = await startAppTunnel(t, origin.url, { http2: 'on' });
  const visitor = grpcVisitor(t, relay.port('https'), relay.home.ca);
  const call = new Promise((_, reject) => {
    const deadline = Date.now() + 300;
    visitor.makeUnaryRequest(TALK.ask.path, asBytes, asText, 'hello', new Metadata(), { deadline }, reject);
  });
  await assert.rejects(call, { code: status.DEADLINE_EXCEEDED });
  assert.equal(cancelled.length, 1);
  await within('the call to be cancelled at the origin', Promise.all(cancelled));
});

test('an origin that cuts its calls is an error of the call, and no more', async (t) => {
  const origin = await startGrpcOrigin(t, { ...talk, ask: () => origin.server.forceShutdown() });
  const relay = await startAppTunnel(t, origin.url, { http2: 'on' });
  const visitor = grpcVisitor(t, relay.port('https'), relay.home.ca);
  await assert.rejects(ask(visitor, 'hello'), (error: ServiceError) => {
    assert.ok([status.UNAVAILABLE, status.UNKNOWN, status.INTERNAL].includes(error.code), `${error.code}`);
    return true;
  });
});

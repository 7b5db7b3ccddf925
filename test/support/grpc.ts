/**
 * gRPC for tests: the four kinds of call, with text as messages, served and called by grpc-js. A service without .proto
 * files: the wire only knows paths, frames and trailers.
 */
import type { TestContext } from 'node:test';
import {
  Client,
  credentials,
  type MethodDefinition,
  Server,
  ServerCredentials,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { APP } from './carry.js';

const asBytes = (text: string) => Buffer.from(text);
const asText = (bytes: Buffer) => bytes.toString();

function method(name: string, requestStream: boolean, responseStream: boolean): MethodDefinition<string, string> {
  return {
    path: `/test.Talk/${name}`,
    requestStream,
    responseStream,
    requestSerialize: asBytes,
    requestDeserialize: asText,
    responseSerialize: asBytes,
    responseDeserialize: asText,
  };
}

export const TALK = {
  ask: method('Ask', false, false),
  listen: method('Listen', false, true),
  tell: method('Tell', true, false),
  chat: method('Chat', true, true),
} satisfies ServiceDefinition;

export interface GrpcOrigin {
  /** As tunnel.yaml names it. */
  readonly url: string;
  readonly server: Server;
}

/** A gRPC server on loopback without TLS; ends with the test. */
export async function startGrpcOrigin(
  t: Pick<TestContext, 'after'>,
  talk: UntypedServiceImplementation,
): Promise<GrpcOrigin> {
  const server = new Server();
  server.addService(TALK, talk);
  t.after(() => server.forceShutdown());
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) resolve(bound);
      else reject(error);
    });
  });
  return { url: `h2c://127.0.0.1:${port}`, server };
}

/** A gRPC client of `hostname` at a port of loopback, over TLS; ends with the test. */
export function grpcVisitor(
  t: Pick<TestContext, 'after'>,
  port: number,
  ca: string,
  hostname = APP,
  options: object = {},
): Client {
  const visitor = new Client(`127.0.0.1:${port}`, credentials.createSsl(Buffer.from(ca)), {
    'grpc.ssl_target_name_override': hostname,
    'grpc.default_authority': hostname,
    ...options,
  });
  t.after(() => visitor.close());
  return visitor;
}

/** Calls a method with one message and one answer. */
export function ask(visitor: Client, text: string, path = TALK.ask.path): Promise<string> {
  return new Promise((resolve, reject) => {
    visitor.makeUnaryRequest(path, asBytes, asText, text, (error, answer) => {
      if (error === null) resolve(answer ?? '');
      else reject(error);
    });
  });
}

export { asBytes, asText };

/**
 * AlertConfig: decides the options of section `alerts` in relay.yaml, and which channels follow from them.
 */
import type { Fields } from '../../../shared/config/config-fields.js';
import type { Secret } from '../../../shared/secret.js';
import type { AlertRules } from './alert.js';
import type { Channel } from './channel.js';
import { ntfyChannel, webhookChannel } from './http-channels.js';
import { mailChannel } from './mail-channel.js';

export interface AlertConfig {
  readonly rules: AlertRules;
  readonly webhookUrl: Secret | undefined;
  readonly ntfyUrl: Secret | undefined;
  readonly ntfyToken: Secret | undefined;
  readonly mailTo: string | undefined;
  readonly mailFrom: string | undefined;
  /** Absolute path. */
  readonly sendmail: string;
}

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const DAY = 86_400 * SECOND;
/** Nothing that a shell, sendmail or a mail's head could take for something else. */
const MAILBOX = { expected: 'an e-mail address', form: /^[A-Za-z0-9][\w.+-]{0,63}@[A-Za-z0-9][A-Za-z0-9.-]{0,252}$/ };

/** Asks for every option. */
export function readAlerts(fields: Fields): AlertConfig {
  const config: AlertConfig = {
    webhookUrl: readUrl(fields, 'webhook_url'),
    ntfyUrl: readUrl(fields, 'ntfy_url'),
    ntfyToken: fields.secret('ntfy_token', { default: undefined }),
    mailTo: fields.string('mail_to', { ...MAILBOX, default: undefined }),
    mailFrom: fields.string('mail_from', { ...MAILBOX, default: undefined }),
    sendmail: fields.path('sendmail', { default: '/usr/sbin/sendmail' }),
    rules: {
      downAfterMs: fields.duration('down_after', { min: 100, default: MINUTE }),
      flappingAfter: fields.integer('flapping_after', { min: 2, max: 100, default: 4 }),
      flappingWindowMs: fields.duration('flapping_window', { min: 100, default: 10 * MINUTE }),
      certificateWithinMs: fields.duration('certificate_within', { min: SECOND, default: 10 * DAY }),
      clientAddresses: fields.boolean('client_addresses', { default: true }),
    },
  };
  refuseAlone(fields, ['ntfy_token', 'ntfy_token_file'], 'ntfy_url', config.ntfyUrl);
  refuseAlone(fields, ['mail_from'], 'mail_to', config.mailTo);
  return config;
}

/** The channels that are configured; none: there are no alerts. */
export function channelsOf(config: AlertConfig): Channel[] {
  const { webhookUrl, ntfyUrl, ntfyToken, mailTo, mailFrom, sendmail } = config;
  const channels: Channel[] = [];
  if (webhookUrl !== undefined) channels.push(webhookChannel(webhookUrl));
  if (ntfyUrl !== undefined) channels.push(ntfyChannel(ntfyUrl, ntfyToken));
  if (mailTo !== undefined) channels.push(mailChannel({ sendmail, to: mailTo, from: mailFrom }));
  return channels;
}

/** A secret, because such URLs hold a token more often than not: no part of it is ever shown. */
function readUrl(fields: Fields, key: string): Secret | undefined {
  const secret = fields.secret(key, { default: undefined });
  const text = secret?.reveal();
  if (text === undefined || text === '' || isHttpUrl(text)) return secret;
  fields.refuse(fields.has(key) ? key : `${key}_file`, 'must be an http or https URL, without user name and password');
  return secret;
}

function isHttpUrl(text: string): boolean {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  return url !== undefined && /^https?:$/.test(url.protocol) && url.username === '' && url.password === '';
}

function refuseAlone(fields: Fields, keys: readonly string[], needed: string, value: unknown): void {
  if (value !== undefined) return;
  for (const key of keys) if (fields.has(key)) fields.refuse(key, `has no effect without ${needed}`);
}

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { chatTemplateFrom, type Message, wantTemplate } from '../../src/text/template.ts';

interface Fixture {
  readonly template: string;
  readonly source: string;
  readonly chat: string;
  readonly messages: readonly Message[];
  readonly text: string | { readonly error: string };
}

/** What transformers makes of them: tools/fixtures/chat_templates.py. */
const fixtures: Fixture[] = JSON.parse(
  readFileSync(new URL('../fixtures/chat-templates.json', import.meta.url), 'utf8'),
);
const names = { begin: '<s>', end: '</s>' };

test.each(fixtures)('$template, $chat: the text that transformers writes', ({ source, messages, text }) => {
  const template = wantTemplate('m', chatTemplateFrom('m', source, names));
  if (typeof text === 'string') expect(template.render(messages)).toBe(text);
  else expect(() => template.render(messages)).toThrow(text.error);
});

test('the fixtures hold a chat that is refused, and one with a system before it', () => {
  expect(fixtures.filter(({ text }) => typeof text !== 'string').length).toBe(1);
  expect(fixtures.filter(({ messages }) => messages[0]?.role === 'system').length).toBe(8);
});

test('of several templates, the one called default writes chats', () => {
  const several = [
    { name: 'tool_use', template: 'tools' },
    { name: 'default', template: 'chat' },
  ];
  expect(chatTemplateFrom('m', several, names)?.render([])).toBe('chat');
});

test('no template, and one that cannot be read, are sentences', () => {
  expect(chatTemplateFrom('m', undefined, names)).toBeUndefined();
  expect(() => wantTemplate('m', undefined)).toThrow('model=m has no chat template: let it go on from a text with');
  expect(() => chatTemplateFrom('m', '{% if %}', names)).toThrow("The chat template of m can't be read");
});

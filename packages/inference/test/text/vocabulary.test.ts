import { expect, test } from 'vitest';
import { openVocabulary } from '../../src/text/vocabulary.ts';
import { BEGIN, END, TURN, tinyFiles, tinyVocabulary } from '../support/tiny-text.ts';

test('what begins a text, what ends it, and what is no text are read from the files', async () => {
  const { begin, ends, tokenizer, template } = await tinyVocabulary();
  expect(begin).toEqual([BEGIN]);
  expect([...ends]).toEqual([END]);
  expect([...(tokenizer.special ?? [])]).toEqual([BEGIN, TURN, END]);
  expect(template?.render([{ role: 'user', content: 'Hi' }])).toBe('<|turn|>user\nHi<|end|><|turn|>assistant\n');
});

test('a model may have several ends: those of its config.json, and the one its tokenizer names', async () => {
  const { ends } = await openVocabulary({ model: 'm', tokenizerFiles: await tinyFiles(), ends: { end: [TURN, 7] } });
  expect([...ends].sort((a, b) => a - b)).toEqual([7, TURN, END]);
});

test('a template in a file of its own goes before that of the settings', async () => {
  const tokenizerFiles = (await tinyFiles()).set('chat_template.jinja', 'mine{{ bos_token }}{{ eos_token }}');
  const { template } = await openVocabulary({ model: 'm', tokenizerFiles });
  expect(template?.render([])).toBe('mine<s><|end|>');
});

test('a model without a vocabulary, or with unsound settings, is refused by a sentence', async () => {
  await expect(openVocabulary({ model: 'm', tokenizerFiles: new Map() })).rejects.toThrow(
    'model=m has no tokenizer.json that can be read: put one beside its weights',
  );
  for (const [text, says] of [
    ['{', 'm/tokenizer_config.json is not valid JSON'],
    ['7', 'm/tokenizer_config.json holds no settings'],
  ] as const) {
    const tokenizerFiles = (await tinyFiles()).set('tokenizer_config.json', text);
    await expect(openVocabulary({ model: 'm', tokenizerFiles })).rejects.toThrow(says);
  }
});

"""OpenAI's client for Python against a server: python openai_client.py BASE_URL KEY. Prints one line at the end."""

import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1], api_key=sys.argv[2], max_retries=0)
(model,) = [each.id for each in client.models.list()]
ask = {"model": model, "messages": [{"role": "user", "content": "Who was Ahab?"}], "max_tokens": 8, "temperature": 0}

whole = client.chat.completions.create(**ask)
content = whole.choices[0].message.content
assert len(content) > 3 and whole.usage.completion_tokens == 8, whole

chunks = list(client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
assert streamed == content, (streamed, content)
assert chunks[-1].usage.total_tokens == whole.usage.total_tokens, chunks[-1]

stopped = client.chat.completions.create(**ask, stop=[content[2:4]])
assert stopped.choices[0].message.content == content[:2], stopped
assert stopped.choices[0].finish_reason == "stop", stopped

several = client.chat.completions.create(**{**ask, "temperature": 1}, n=3, seed=5, logprobs=True, top_logprobs=2)
texts = [choice.message.content for choice in several.choices]
assert len(set(texts)) == 3, texts
assert all(len(token.top_logprobs) == 2 for token in several.choices[0].logprobs.content), several

text = client.completions.create(model=model, prompt="Call me", max_tokens=4, temperature=0)
assert text.usage.completion_tokens == 4, text

for error, change in [
    (openai.NotFoundError, {"model": "gpt-9"}),
    (openai.BadRequestError, {"temperature": 9}),
    (openai.BadRequestError, {"messages": [{"role": "user", "content": "x" * 5000}]}),
]:
    try:
        client.chat.completions.create(**{**ask, **change})
    except error as refused:
        assert refused.body["message"], refused
    else:
        raise AssertionError(change)

try:
    openai.OpenAI(base_url=sys.argv[1], api_key="another-key", max_retries=0).models.list()
except openai.AuthenticationError:
    print(f"openai {openai.__version__}: all is well")

/** What the site calls the text that pages train on, below its base path. */
export const TEXT_FILE = 'moby-dick-part.txt';

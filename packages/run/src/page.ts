/** Where there is no command line. */

/** In a web page train.ts is never the program that was started, only imported: its command does not run. */
export const trainingCommand = async (): Promise<void> => {};

// Uploads one file with tus-js-client: node upload.mjs OPTIONS-AS-JSON
// Prints "url <upload url>" once it is known and "done" at the end; exits 1 with the reason on failure.
import { createReadStream } from "node:fs";
import { PassThrough } from "node:stream";
import { Upload } from "tus-js-client";

const { endpoint, path, size, url, ...options } = JSON.parse(process.argv[2]);

// The client knows the size of a file stream; only a bare stream has a length to be deferred.
const file = createReadStream(path);
const source = options.uploadLengthDeferred ? file.pipe(new PassThrough()) : file;

const upload = new Upload(source, {
  endpoint,
  uploadUrl: url ?? null,
  uploadSize: size,
  retryDelays: null,
  metadata: { filename: "clip.mp4", purpose: "original" },
  ...options,
  onUploadUrlAvailable: () => console.log(`url ${upload.url}`),
  onSuccess: () => console.log("done"),
  onError: (error) => {
    console.error(String(error));
    process.exit(1);
  },
});
upload.start();

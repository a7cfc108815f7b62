// Package dataset reads the pictures that a concept is taught with: a zip or a
// folder of JPEG, PNG and WebP files, with captions beside them.
//
// [Load] and [LoadZip] look at every file, decode each picture once, turn it
// as its EXIF says, scale and crop it to its training size, and keep the
// result; what they leave out is named in [Set.Skipped], with a reason for
// each. [Picture.View] is one look at a picture in training: mirrored and its
// colours varied by draws that the caller supplies.
//
// Everything here is input of strangers. Sizes are checked before memory is
// taken ([Limits]): of one file at a time the unpacked bytes and the decoded
// picture are held, of the others the cropped pictures. Names from archives
// are never used as paths, links are never followed.
//
// The package knows nothing of models: prompts are text, pictures are bytes.
package dataset

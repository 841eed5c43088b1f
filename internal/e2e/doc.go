// Package e2e tests what people see: whole servers, each a process of the
// entente command with a configuration, a certificate and a database of its
// own, driven over the network by clients that we did not write, mautrix here
// and matrix-js-sdk in the folder jssdk. There is nothing in it but tests.
//
// A process and not a Server value is under test, because some of what is
// promised is about processes: being killed, starting again, and being found
// by a peer that has only a name.
package e2e

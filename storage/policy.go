package storage

import "context"

// PolicyBump raises the policy's version: decisions taken before it commit no
// more.
type PolicyBump struct{}

const bumpPolicy = `UPDATE policy_version SET version = version + 1 WHERE id = 1`

func (*PolicyBump) write(w *writer) { w.exec(bumpPolicy) }

// PolicyVersion is the version of the policy.
func (v *View) PolicyVersion(ctx context.Context) (version int64, err error) {
	_, err = one(ctx, v.q, selectPolicy, nil, &version)
	return version, err
}
